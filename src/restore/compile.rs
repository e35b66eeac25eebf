//! Compiles a plan against a backup: which frames each step reads, in which order, and how many objects it has.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::order::rank;
use super::owners::{Owners, OwnersBuilder};
use super::remap::{Collisions, Remap};
use crate::archive::index::Entry;
use crate::config::{KindPattern, RestorePlan, Subject};
use crate::error::Result;
use crate::inventory::TypeRecord;
use crate::object_path::ObjectPath;
use crate::reader::OpenBackup;

/// Gatekeeper's templates, and the group of what it makes of them.
const TEMPLATES: &str = "constrainttemplates.templates.gatekeeper.sh";
const CONSTRAINTS: &str = "constraints.gatekeeper.sh";

/// A type of the backup, with what is needed to address its objects.
#[derive(Debug, Clone)]
pub struct SavedType {
    /// `deployments.apps`.
    pub resource: String,
    /// Version it was saved in.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Group; empty for the core group.
    pub group: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl SavedType {
    /// Plural name without the group.
    pub fn plural(&self) -> &str {
        self.resource.split_once('.').map_or(&self.resource, |(plural, _)| plural)
    }

    /// Whether a definition makes it, rather than Kubernetes itself.
    pub fn is_custom(&self) -> bool {
        !super::order::is_built_in(&self.group)
    }

    fn from_record(resource: &str, record: &TypeRecord) -> Self {
        let group = resource.split_once('.').map_or("", |(_, group)| group);
        SavedType {
            resource: resource.into(),
            version: record.version.clone(),
            kind: record.kind.clone(),
            group: group.into(),
            namespaced: record.namespaced,
        }
    }
}

/// Frames of one rank: they may be written side by side.
pub type Wave = Vec<usize>;

/// What a step does with the backup.
#[derive(Debug, Default)]
pub struct CompiledStep {
    /// Positions in the backup's directory, wave after wave.
    pub waves: BTreeMap<u16, Wave>,
    /// Objects by type.
    pub types: BTreeMap<String, u64>,
}

impl CompiledStep {
    /// Objects in all.
    pub fn objects(&self) -> u64 {
        self.types.values().sum()
    }
}

/// A plan that is ready to run.
pub struct Compiled {
    /// Position of the target that it is for, in the plan.
    target: usize,
    /// One for each step of the plan; empty for steps that apply nothing.
    pub steps: Vec<CompiledStep>,
    /// The backup's types: by source, then by `deployments.apps`.
    pub types: HashMap<String, HashMap<String, SavedType>>,
    /// Owners among the objects.
    pub owners: Owners,
    /// Names of the persistent volumes.
    pub volumes: HashSet<String>,
    /// Names of the custom resource definitions: `certificates.cert-manager.io`.
    pub definitions: HashSet<String>,
    /// Names of Gatekeeper's templates, each of which makes a definition.
    pub templates: HashSet<String>,
    /// Namespaces that objects are written to, as the target calls them.
    pub namespaces: BTreeSet<String>,
    /// Objects that no step selects, by type.
    pub not_selected: BTreeMap<String, u64>,
}

/// Reads the whole index of a target's backup once, and sorts every object into its step and wave.
pub async fn compile(plan: &RestorePlan, target: usize, backup: &OpenBackup, remap: &Remap) -> Result<Compiled> {
    backup.load_index().await?;
    let mut compiled = Compiled {
        target,
        steps: plan.steps.iter().map(|_| CompiledStep::default()).collect(),
        types: saved_types(backup),
        owners: Owners::default(),
        volumes: HashSet::new(),
        definitions: HashSet::new(),
        templates: HashSet::new(),
        namespaces: BTreeSet::new(),
        not_selected: BTreeMap::new(),
    };
    let (mut owners, mut collisions) = (OwnersBuilder::default(), Collisions::default());
    for (at, stored) in backup.directory().iter().enumerate() {
        if !compiled.types.contains_key(&*stored.source) {
            continue;
        }
        for entry in backup.entries(stored).await? {
            owners.add(&entry.traits.uid, &entry.traits.owners);
            compiled.add(plan, at, &stored.source, &entry, (remap, &mut collisions));
        }
    }
    collisions.refuse()?;
    compiled.owners = owners.build();
    Ok(compiled)
}

fn saved_types(backup: &OpenBackup) -> HashMap<String, HashMap<String, SavedType>> {
    let kubernetes = backup.manifest.sources.iter().filter(|s| s.kind == "kubernetes");
    let types = |s: &crate::vault::manifest::SourceRecord| {
        s.types.iter().map(|(name, record)| (name.clone(), SavedType::from_record(name, record))).collect()
    };
    kubernetes.map(|s| (s.name.clone(), types(s))).collect()
}

impl Compiled {
    fn add(
        &mut self,
        plan: &RestorePlan,
        frame: usize,
        source: &str,
        entry: &Entry,
        (remap, collisions): (&Remap, &mut Collisions),
    ) {
        let Some(path) = ObjectPath::parse(&entry.path) else { return };
        match path.resource {
            "persistentvolumes" => drop(self.volumes.insert(path.stem.to_string())),
            "customresourcedefinitions.apiextensions.k8s.io" => drop(self.definitions.insert(path.stem.to_string())),
            TEMPLATES => drop(self.templates.insert(path.stem.to_string())),
            _ => {}
        }
        let step = self.step_of(plan, source, &path, entry);
        let Some((step, kind)) = step else {
            *self.not_selected.entry(path.resource.into()).or_default() += 1;
            return;
        };
        if !remap.is_empty() {
            remap.sees(&subject(source, &kind, &path, entry));
            collisions.add(remap.mappings(), &path);
        }
        let of_itself = (path.resource == "namespaces").then_some(path.stem);
        if let Some(namespace) = path.namespace.or(of_itself) {
            let namespace = remap.mappings().namespace(namespace);
            if !self.namespaces.contains(namespace) {
                self.namespaces.insert(namespace.into());
            }
        }
        let rank = rank(&kind.kind, &kind.group);
        let step = &mut self.steps[step];
        let wave = step.waves.entry(rank).or_default();
        if wave.last() != Some(&frame) {
            wave.push(frame);
        }
        match step.types.get_mut(path.resource) {
            Some(count) => *count += 1,
            None => drop(step.types.insert(path.resource.into(), 1)),
        }
    }

    /// The step that takes an object, and the object's type.
    pub fn step_of(
        &self,
        plan: &RestorePlan,
        source: &str,
        path: &ObjectPath<'_>,
        entry: &Entry,
    ) -> Option<(usize, SavedType)> {
        let kind = self.saved_type(source, path.resource)?;
        Some((plan.step_for(self.target, &subject(source, kind, path, entry))?, kind.clone()))
    }

    /// Whether the type will be served once something else is restored.
    pub fn is_to_come(&self, kind: &SavedType) -> bool {
        self.definitions.contains(&kind.resource) || self.comes_of_template(kind)
    }

    /// Whether Gatekeeper makes the type's definition of a template of the backup. Templates are named after the kind.
    pub fn comes_of_template(&self, kind: &SavedType) -> bool {
        kind.group == CONSTRAINTS && self.templates.contains(&kind.kind.to_lowercase())
    }

    /// The types of which a step takes objects.
    pub fn selected_types(&self) -> Vec<&SavedType> {
        let selected = |name: &str| self.steps.iter().any(|step| step.types.contains_key(name));
        let all = self.types.values().flat_map(HashMap::values).filter(|kind| selected(&kind.resource));
        let by_version: BTreeMap<_, _> = all.map(|kind| ((&kind.resource, &kind.version), kind)).collect();
        by_version.into_values().collect()
    }

    /// Whether the backup holds an object of a kind.
    pub fn holds(&self, kind: &KindPattern) -> bool {
        let counted = |resource: &str| {
            self.steps.iter().any(|step| step.types.contains_key(resource)) || self.not_selected.contains_key(resource)
        };
        let types = self.types.values().flat_map(HashMap::values);
        types.filter(|t| kind.matches(&t.kind, &t.group)).any(|t| counted(&t.resource))
    }

    /// The type of that name in a source.
    pub fn saved_type(&self, source: &str, resource: &str) -> Option<&SavedType> {
        self.types.get(source)?.get(resource)
    }
}

/// What a plan needs to know of an object of the backup.
pub fn subject<'o>(source: &'o str, kind: &'o SavedType, path: &ObjectPath<'o>, entry: &'o Entry) -> Subject<'o> {
    Subject {
        source,
        kind: &kind.kind,
        group: &kind.group,
        namespace: path.namespace,
        name: path.stem,
        labels: &entry.traits.labels,
    }
}
