//! The published schema of reports.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::model::{ExerciseReport, QUARTER_SCHEMA, QuarterReport, REPORT_SCHEMA};

/// The JSON schema of both kinds of reports.
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let exercise = with_name(generator.subschema_for::<ExerciseReport>().to_value(), REPORT_SCHEMA);
    let quarter = with_name(generator.subschema_for::<QuarterReport>().to_value(), QUARTER_SCHEMA);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Reports of ckbackup",
        "description": "The report.json of a drill, a restore or a quarter. Readers accept fields that they do not know.",
        "oneOf": [exercise, quarter],
        "$defs": generator.take_definitions(true),
    })
}

/// By its `schema`, a report is told from those of the other kind.
fn with_name(reference: Value, name: &str) -> Value {
    json!({"allOf": [reference, {"properties": {"schema": {"const": name}}}]})
}
