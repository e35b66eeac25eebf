//! One index or data stream of the server: looked at, and made.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::apply::EXISTS;
use super::super::files::of_the_backup;
use super::super::summary::Outcome;
use super::super::work::Work;
use super::contents::{self, HeldIndex};
use super::sample::Sampled;
use super::settings::{self, Settings, at_first, loaded_of, mark_of, marked};
use crate::config::Conflict;
use crate::elastic::{Elastic, Refusal, Repeat, in_path};
use crate::error::{Error, Result};
use crate::sources::identity_of;

/// More settings that a server does not know than this, and it is another one than was meant.
const MOST_DROPPED: usize = 30;

/// What is restored as one.
pub struct Target<'a> {
    /// Its name in the server.
    pub to: String,
    /// Whether it is a data stream.
    pub is_stream: bool,
    /// The indices of the backup that go there, with their names.
    pub parts: Vec<(&'a str, &'a HeldIndex)>,
}

/// How it is restored.
pub struct Restorer<'a> {
    pub work: &'a Work,
    pub server: &'a Elastic,
    /// The step's name.
    pub task: &'a str,
    pub conflict: Conflict,
    pub lanes: usize,
}

/// What came of it, and what is worth knowing beside.
pub struct Done {
    pub outcome: Outcome,
    pub notes: Vec<String>,
    /// Whether it is whole, and gets its aliases now.
    pub is_whole: bool,
    /// What was compared when it had been filled.
    pub sampled: Option<Sampled>,
}

/// What is in its place.
enum Place {
    Free,
    /// What an earlier try of the same restore began.
    Begun,
    /// What an earlier try filled to its end; its aliases are still to come.
    Loaded,
    /// The very index that was saved, and nothing has changed in it.
    Equal,
    Taken(&'static str),
    /// By what is known not to be whole.
    Half(&'static str),
}

impl Target<'_> {
    /// What the summary calls it.
    pub fn shown(&self) -> String {
        format!("{}/{}", if self.is_stream { "data-streams" } else { "indices" }, self.to)
    }

    pub(super) fn path(&self) -> String {
        in_path(&self.to)
    }

    /// Where it is made and removed.
    fn api_path(&self) -> String {
        if self.is_stream { format!("_data_stream/{}", self.path()) } else { self.path() }
    }

    /// What stands in it while it is filled from this backup.
    pub(super) fn mark(&self, work: &Work) -> String {
        let from = self.parts.first().map_or("", |(name, _)| name);
        let from = if self.is_stream { self.to.as_str() } else { from };
        format!("{}/{from}", work.backup.manifest.id)
    }

    /// Documents that it had; none when not all of them were saved.
    pub fn count(&self) -> Option<u64> {
        self.parts.iter().map(|(_, index)| index.count).sum()
    }

    /// Settings of the saved index; a data stream has those that its template gives it.
    pub(super) fn saved_settings(&self) -> Settings {
        let one = self.parts.first().filter(|_| !self.is_stream);
        one.and_then(|(_, index)| index.description["settings"].as_object().cloned()).unwrap_or_default()
    }
}

impl Restorer<'_> {
    /// Restores one. What the server refuses is its outcome; an error means that the step cannot go on.
    pub async fn restore(&self, target: &Target<'_>) -> Result<Done> {
        let done = |outcome| Done { outcome, notes: Vec::new(), is_whole: false, sampled: None };
        if target.parts.iter().any(|(_, index)| index.description.is_null()) {
            return Ok(done(Outcome::Failed("the backup has no settings and mappings of it".into())));
        }
        let (outcome, is_there) = match self.look(target).await? {
            Place::Free => (Outcome::Created, false),
            Place::Begun => (Outcome::Created, true),
            Place::Equal => return Ok(done(Outcome::Unchanged)),
            Place::Loaded => return Ok(Done { is_whole: true, ..done(Outcome::Unchanged) }),
            Place::Half(why) if self.conflict != Conflict::Overwrite => return Ok(done(Outcome::Failed(why.into()))),
            Place::Taken(_) | Place::Half(_) if self.conflict == Conflict::Overwrite && target.count().is_none() => {
                let why = "it is there, and the backup does not hold all of its documents; what is there stays";
                return Ok(done(Outcome::Failed(why.into())));
            }
            Place::Taken(why) | Place::Half(why) => match self.conflict {
                Conflict::Skip => return Ok(done(Outcome::Skipped { rule: EXISTS.into(), why: why.into() })),
                Conflict::Fail => return Ok(done(Outcome::Failed(why.into()))),
                Conflict::Overwrite => (Outcome::Updated, false),
            },
        };
        if self.work.dry_run {
            return Ok(Done { is_whole: true, ..done(outcome) });
        }
        let mut notes = Vec::new();
        if outcome == Outcome::Updated
            && let Err(refusal) = self.replace(target).await?
        {
            return Ok(Done { notes, ..done(Outcome::Failed(format!("what is there stays: {refusal}"))) });
        }
        if is_there {
            self.prepare_again(target).await?;
            if let Err(refusal) = self.add_later_fields(target, &target.to).await? {
                return Ok(Done { notes, ..done(Outcome::Failed(refusal.to_string())) });
            }
        }
        if !is_there && let Err(refusal) = self.make(target, &mut notes).await? {
            return Ok(Done { notes, ..done(Outcome::Failed(refusal.to_string())) });
        }
        let loaded = self.load(target).await?;
        Ok(match self.finish(target, loaded, &mut notes).await? {
            Ok(sampled) => Done { outcome, notes, is_whole: true, sampled: Some(sampled) },
            Err(why) => Done { notes, ..done(Outcome::Failed(why)) },
        })
    }

    /// How many documents are in its place.
    pub async fn count(&self, target: &Target<'_>) -> Result<u64> {
        let answer = self.server.get(&format!("{}/_count", target.path())).await?;
        answer["count"].as_u64().ok_or_else(|| Error::failed(format!("count the documents of {}: {answer}", target.to)))
    }

    async fn look(&self, target: &Target<'_>) -> Result<Place> {
        let path = format!("{}?flat_settings=true", target.path());
        let reply = self.server.call(Method::GET, &path, None, Repeat::Always).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(Place::Free);
        }
        if !reply.status.is_success() {
            return Err(self.server.refused(&target.path(), &Refusal::of(&reply)));
        }
        let there: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let mark = target.mark(self.work);
        let has = |of: fn(&Value) -> Option<&str>| {
            there.as_object().into_iter().flatten().any(|(_, about)| of(&about["mappings"]) == Some(&mark))
        };
        if has(mark_of) {
            return Ok(Place::Begun);
        }
        if has(loaded_of) {
            let count = self.server.get(&format!("{}/_count", target.path())).await?["count"].as_u64();
            // Unless somebody has written to it since.
            return Ok(if count == target.count() {
                Place::Loaded
            } else {
                Place::Taken("it is there, and may differ")
            });
        }
        if target.is_stream {
            let count = self.server.get(&format!("{}/_count", target.path())).await?["count"].as_u64();
            // One that was made, and no more: it could not be marked in the same moment.
            return Ok(if count == Some(0) { Place::Begun } else { Place::Taken("it is there") });
        }
        let Some(about) = there.get(&target.to) else { return Ok(Place::Taken("an alias of that name is there")) };
        if mark_of(&about["mappings"]).is_some() {
            return Ok(Place::Half("it is there, and only half: a restore of another backup did not come to its end"));
        }
        let shards = about["settings"]["index.number_of_shards"].as_str().and_then(|text| text.parse().ok());
        let identity = identity_of(self.server, &target.to, shards.unwrap_or(1)).await?;
        let saved = target.parts.first().and_then(|(_, index)| index.identity.as_deref());
        Ok(match identity.map(|identity| hex::encode(identity.0)) {
            Some(identity) if Some(&*identity) == saved => Place::Equal,
            _ => Place::Taken("it is there, and may differ"),
        })
    }

    /// Removes what is there, once it is known that the backup can be read, and that the server would take what it holds.
    async fn replace(&self, target: &Target<'_>) -> Result<Result<(), String>> {
        for (name, index) in &target.parts {
            for frame in &index.frames {
                of_the_backup(self.work, contents::documents(self.work, frame, name).await).await?;
            }
        }
        let probed =
            if target.is_stream { self.probe_template(target).await? } else { self.probe_index(target).await? };
        match probed {
            Ok(()) => self.remove(&target.api_path()).await.map(Ok),
            refused => Ok(refused),
        }
    }

    /// Whether the server would make such an index.
    async fn probe_index(&self, target: &Target<'_>) -> Result<Result<(), String>> {
        let probe = format!("{}-ckbackup-probe", target.to);
        // Of a restore that was killed.
        self.remove(&in_path(&probe)).await?;
        let made = match self.make_index(target, &probe, &mut Vec::new()).await? {
            Ok(()) => self.add_later_fields(target, &probe).await?,
            refused => refused,
        };
        self.remove(&in_path(&probe)).await?;
        Ok(made.map_err(|refusal| refusal.to_string()))
    }

    /// A data stream is made by its template: whether that would take the documents as they were.
    async fn probe_template(&self, target: &Target<'_>) -> Result<Result<(), String>> {
        let path = format!("_index_template/_simulate_index/{}", target.path());
        let made = match self.server.send(Method::POST, &path, &Value::Null, Repeat::Always).await? {
            Ok(made) => made,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        if made["template"].is_null() {
            return Ok(Err("no template makes it".into()));
        }
        let saved = target.parts.iter().map(|(_, index)| &index.description["mappings"]);
        let others: Vec<_> =
            saved.flat_map(|saved| settings::other_types(saved, &made["template"]["mappings"])).collect();
        Ok(match others.first() {
            Some(first) => Err(format!(
                "the template has other types for {} fields, the first: {first}; change the template, or delete the data stream",
                others.len()
            )),
            None => Ok(()),
        })
    }

    async fn remove(&self, path: &str) -> Result<()> {
        match self.server.send(Method::DELETE, path, &Value::Null, Repeat::Always).await? {
            Err(refusal) if !refusal.is_missing() => Err(self.server.refused(path, &refusal)),
            _ => Ok(()),
        }
    }

    async fn make(&self, target: &Target<'_>, notes: &mut Vec<String>) -> Result<Result<(), Refusal>> {
        if !target.is_stream {
            let made = self.make_index(target, &target.to, notes).await?;
            if made.is_err() {
                return Ok(made);
            }
            self.take_away_what_templates_gave(target).await?;
            return self.add_later_fields(target, &target.to).await;
        }
        let made = self.server.send(Method::PUT, &target.api_path(), &Value::Null, Repeat::WhenRefused).await?;
        if let Err(refusal) = made {
            return Ok(Err(refusal));
        }
        self.prepare_again(target).await.map(Ok)
    }

    async fn make_index(
        &self,
        target: &Target<'_>,
        name: &str,
        notes: &mut Vec<String>,
    ) -> Result<Result<(), Refusal>> {
        let mappings = marked(&target.parts[0].1.description["mappings"], &target.mark(self.work));
        let put = |settings: &Settings| json!({ "settings": settings, "mappings": mappings });
        let first = at_first(&target.saved_settings());
        Ok(match self.without_unknown(target, &in_path(name), first, put, notes).await? {
            Ok(answer) if answer["shards_acknowledged"] == false => {
                return Err(Error::failed(format!("the shards of {name} did not start"))
                    .hint("ask the server why: GET _cluster/allocation/explain"));
            }
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal),
        })
    }

    /// Adds the fields that came when the index was described already, and before its documents were read.
    async fn add_later_fields(&self, target: &Target<'_>, name: &str) -> Result<Result<(), Refusal>> {
        let index = target.parts[0].1;
        let fields = settings::new_fields(&index.description["mappings"], &index.later_mappings);
        if target.is_stream || fields.is_null() {
            return Ok(Ok(()));
        }
        let (path, body) = (format!("{}/_mapping", in_path(name)), json!({ "properties": fields }));
        Ok(self.server.send(Method::PUT, &path, &body, Repeat::Always).await?.map(drop))
    }

    /// Policies and aliases of templates: the one might take the index away, through the others it would be written to.
    async fn take_away_what_templates_gave(&self, target: &Target<'_>) -> Result<()> {
        let made = self.write_index(target).await?;
        let settings = made["settings"].as_object().cloned().unwrap_or_default();
        let given = settings::given_by_templates(&settings, &at_first(&target.saved_settings()));
        if !given.is_empty() {
            let path = format!("{}/_settings", target.path());
            self.server.order(Method::PUT, &path, &Value::Object(given), Repeat::Always).await?;
        }
        let remove = |alias: &String| json!({ "remove": { "index": target.to, "alias": alias } });
        let aliases: Vec<_> =
            made["aliases"].as_object().into_iter().flatten().map(|(alias, _)| remove(alias)).collect();
        if !aliases.is_empty() {
            let body = json!({ "actions": aliases });
            self.server.order(Method::POST, "_aliases", &body, Repeat::Always).await?;
        }
        Ok(())
    }

    /// What was begun, or has just been made by a template, gets its mark and what makes filling it fast.
    async fn prepare_again(&self, target: &Target<'_>) -> Result<()> {
        let meta = &marked(&self.write_index(target).await?["mappings"], &target.mark(self.work))["_meta"];
        self.put_meta(target, meta).await?;
        let quick = json!({
            "index.refresh_interval": "-1", "index.number_of_replicas": "0",
            "index.final_pipeline": "_none", "index.default_pipeline": "_none",
        });
        let path = format!("{}/_settings", target.path());
        self.server.order(Method::PUT, &path, &quick, Repeat::Always).await.map(drop)
    }

    /// Sends settings, again without those that the server does not know.
    pub(super) async fn without_unknown(
        &self,
        target: &Target<'_>,
        path: &str,
        mut settings: Settings,
        body: impl Fn(&Settings) -> Value,
        notes: &mut Vec<String>,
    ) -> Result<Result<Value, Refusal>> {
        for _ in 0..MOST_DROPPED {
            let sent = self.server.send(Method::PUT, path, &body(&settings), Repeat::WhenRefused).await?;
            let refusal = match sent {
                Ok(answer) => return Ok(Ok(answer)),
                Err(refusal) => refusal,
            };
            match settings::refused_setting(&refusal.reason) {
                Some(key) if settings.remove(&key).is_some() => {
                    notes.push(format!("{}: the server does not take {key}", target.to));
                }
                _ => return Ok(Err(refusal)),
            }
        }
        Err(Error::failed(format!(
            "{} refuses more than {MOST_DROPPED} settings of {}",
            self.server.words(),
            target.to
        )))
    }
}
