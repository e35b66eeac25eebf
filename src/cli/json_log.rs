//! The log as JSON: one object on a line, with the id of the run on each.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::telemetry::run_under_way;
use crate::clock::{Clock, SystemClock};

/// The field by which what does not belong to the run under way is known: the name of a task beside it.
const TASK: &str = "task";

/// Formats events as JSON.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            add::<S, N>(&mut line, &span);
        }
        if !line.contains_key("run") && !line.contains_key(TASK) {
            let under_way = run_under_way().and_then(|span| span.id());
            if let Some(span) = under_way.and_then(|id| ctx.span(&id)) {
                add::<S, N>(&mut line, &span);
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        line.insert("time".into(), SystemClock.now().to_string().into());
        line.insert("level".into(), metadata.level().as_str().to_ascii_lowercase().into());
        line.insert("target".into(), metadata.target().into());
        line.insert("message".into(), fields.message.into());
        if !fields.others.is_empty() {
            line.insert("fields".into(), fields.others.into());
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// What a span says, and those around it do not say already.
fn add<'a, S, N>(line: &mut Map<String, Value>, span: &SpanRef<'a, S>)
where
    S: Subscriber + LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    let extensions = span.extensions();
    let Some(formatted) = extensions.get::<FormattedFields<N>>() else { return };
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(formatted) else { return };
    fields.into_iter().for_each(|(name, value)| {
        line.entry(name).or_insert(value);
    });
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.others.insert(name.into(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}
