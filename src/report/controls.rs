//! Which section of a report is evidence for which control. All of the mapping stands here.

/// A section of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectionId {
    /// What it came to.
    Summary,
    /// What is missing.
    Gaps,
    /// Scope against the inventory of systems.
    Coverage,
    /// Backups that were used, or all of a quarter.
    Backups,
    /// Nights without a backup.
    Nights,
    /// Plan, target and people.
    Plan,
    /// Every step.
    Steps,
    /// Recovery time and recovery point.
    Time,
    /// Recovery time and point over the quarters.
    History,
    /// What was compared.
    Verification,
    /// Drills and restores of a quarter.
    Exercises,
    /// What was not restored or not exercised.
    NotShown,
    /// Keys.
    Keys,
    /// The right to erasure.
    Erasure,
    /// Deviations and corrective actions.
    Actions,
    /// Records that are not counted.
    SetAside,
    /// Sign-off.
    SignOff,
    /// This mapping.
    Controls,
    /// How the report itself is checked.
    Integrity,
}

impl SectionId {
    /// Its anchor.
    pub fn anchor(self) -> &'static str {
        match self {
            SectionId::Summary => "summary",
            SectionId::Gaps => "gaps",
            SectionId::Coverage => "coverage",
            SectionId::Backups => "backups",
            SectionId::Nights => "nights",
            SectionId::Plan => "plan",
            SectionId::Steps => "steps",
            SectionId::Time => "time",
            SectionId::History => "history",
            SectionId::Verification => "verification",
            SectionId::Exercises => "exercises",
            SectionId::NotShown => "not-shown",
            SectionId::Keys => "keys",
            SectionId::Erasure => "erasure",
            SectionId::Actions => "actions",
            SectionId::SetAside => "set-aside",
            SectionId::SignOff => "sign-off",
            SectionId::Controls => "controls",
            SectionId::Integrity => "integrity",
        }
    }
}

/// A control of a standard, a regulation or a law.
#[derive(Debug, PartialEq, Eq)]
pub struct Control {
    /// As it is cited.
    pub name: &'static str,
    /// What it asks for.
    pub asks: &'static str,
    /// Sections that are evidence for it.
    pub sections: &'static [SectionId],
}

use SectionId::{
    Actions, Backups, Coverage, Erasure, Exercises, Gaps, History, Integrity, Keys, Nights, NotShown, Plan, SignOff,
    Steps, Summary, Time, Verification,
};

/// All of them.
pub static CONTROLS: &[Control] = &[
    Control {
        name: "ISO/IEC 27001:2022 A.8.13",
        asks: "backups are kept and regularly tested (formerly A.12.3.1)",
        sections: &[Coverage, Backups, Nights, Verification, NotShown, Gaps],
    },
    Control {
        name: "ISO/IEC 27001:2022 A.5.29",
        asks: "information security is kept up during disruption",
        sections: &[Summary, Plan, Steps, Keys, Exercises],
    },
    Control {
        name: "ISO/IEC 27001:2022 A.8.14",
        asks: "redundancy meets the requirements on availability",
        sections: &[Time, History],
    },
    Control {
        name: "NIS2, (EU) 2024/2690 Annex 4.1",
        asks: "a recovery plan with an order of recovery and objectives, tested at intervals",
        sections: &[Plan, Steps, Time, History, Exercises],
    },
    Control {
        name: "NIS2, (EU) 2024/2690 Annex 4.2",
        asks: "backups with integrity checks, tested recovery, documented results, corrective actions",
        sections: &[Backups, Nights, Verification, NotShown, Gaps, Actions, SignOff, Integrity],
    },
    Control {
        name: "GDPR Art. 32(1)(c)",
        asks: "availability and access are restored in a timely manner",
        sections: &[Summary, Steps, Time, History, Exercises],
    },
    Control {
        name: "GDPR Art. 32(1)(d)",
        asks: "measures are regularly tested, assessed and evaluated",
        sections: &[Verification, Exercises, Gaps, Actions, SignOff],
    },
    Control { name: "GDPR Art. 17", asks: "who was erased stays erased after a restore", sections: &[Erasure] },
    Control {
        name: "NIST SP 800-53 CP-4",
        asks: "the contingency plan is tested, results reviewed, corrections begun",
        sections: &[Summary, Plan, Exercises, Actions, SignOff],
    },
    Control {
        name: "NIST SP 800-53 CP-9",
        asks: "system backups; CP-9(1): tested for reliability and integrity",
        sections: &[Coverage, Backups, Nights, Verification, Keys, Gaps],
    },
    Control {
        name: "NIST SP 800-53 CP-10",
        asks: "recovery and reconstitution within the objectives",
        sections: &[Steps, Time, History, NotShown, Exercises],
    },
    Control {
        name: "HIPAA § 164.308(a)(7)(ii)(A)",
        asks: "retrievable exact copies",
        sections: &[Backups, Nights, Verification],
    },
    Control {
        name: "HIPAA § 164.308(a)(7)(ii)(B)",
        asks: "loss of data is restored",
        sections: &[Plan, Steps, Time, Exercises],
    },
    Control {
        name: "HIPAA § 164.308(a)(7)(ii)(D)",
        asks: "contingency plans are periodically tested and revised",
        sections: &[Summary, Actions, SignOff, Exercises],
    },
];

/// The controls that a section is evidence for.
pub fn of(section: SectionId) -> Vec<&'static Control> {
    CONTROLS.iter().filter(|control| control.sections.contains(&section)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_that_is_asked_about_has_evidence() {
        for name in [
            "A.8.13",
            "A.5.29",
            "A.8.14",
            "(EU) 2024/2690",
            "GDPR Art. 32(1)(c)",
            "GDPR Art. 32(1)(d)",
            "GDPR Art. 17",
            "CP-4",
            "CP-9",
            "CP-10",
            "HIPAA § 164.308(a)(7)",
        ] {
            let control = CONTROLS.iter().find(|control| control.name.contains(name));
            assert!(control.is_some_and(|control| !control.sections.is_empty()), "{name}");
        }
        let mut names: Vec<_> = CONTROLS.iter().map(|control| control.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CONTROLS.len());
    }
}
