//! How far everything is.

use orion_projections::{FactsError, PROJECTIONS, Status};
use orion_store::Position;
use orion_store::seal::newest_seal;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Format;
use crate::output::{harmless, say};
use crate::verbs::Outcome;

/// A projection's place in the log.
struct Projection {
    name: &'static str,
    position: Position,
    lag: i64,
    /// Why it stopped, if it did.
    error: Option<String>,
    fault: Option<String>,
}

/// Shows the head of the log, how far it is sealed, and each projection.
pub async fn status(pool: &PgPool, format: Format) -> Outcome {
    // In this order: a log that grows meanwhile is never behind.
    let mut checkpoints = Vec::new();
    for name in PROJECTIONS {
        checkpoints.push((name, orion_projections::checkpoint(pool, name).await?));
    }
    let sealed = newest_seal(pool).await?.map_or(Position::START, |seal| seal.size);
    let head = orion_store::log::head(pool).await?;
    let is_cut = head < sealed;
    let projection = |(name, checkpoint): (&'static str, orion_projections::Checkpoint)| {
        let position = checkpoint.position;
        Projection {
            name,
            position,
            lag: (head.0 - position.0).max(0),
            error: match checkpoint.status {
                Status::Running => None,
                Status::Stopped { error } => Some(error),
            },
            fault: (head < position).then(|| FactsError::LogEnds { head, position }.to_string()),
        }
    };
    let projections: Vec<Projection> = checkpoints.into_iter().map(projection).collect();
    let cut = is_cut.then(|| format!("the log ends at {head}, before the sealed size {sealed}"));
    let leftover = orion_projections::leftover(pool).await?;
    let said = match format {
        Format::Text => as_text(head, sealed, cut.as_deref(), &projections, leftover),
        Format::Json => {
            format!("{:#}\n", as_json(head, sealed, cut.as_deref(), &projections, leftover))
        }
    };
    say(&said)?;
    let is_well =
        |projection: &Projection| projection.error.is_none() && projection.fault.is_none();
    Ok(!is_cut && projections.iter().all(is_well))
}

fn as_text(
    head: Position,
    sealed: Position,
    cut: Option<&str>,
    projections: &[Projection],
    leftover: Option<&str>,
) -> String {
    let mut lines = vec![format!("head        {head}"), format!("sealed      {sealed}")];
    lines.extend(cut.map(|cut| format!("fault       {cut}")));
    for Projection { name, position, lag, error, fault } in projections {
        let status = if error.is_some() { "stopped" } else { "running" };
        lines.extend([
            format!("projection  {name}"),
            format!("position    {position}"),
            format!("lag         {lag}"),
            format!("status      {status}"),
        ]);
        lines.extend(error.as_ref().map(|error| format!("error       {}", harmless(error))));
        lines.extend(fault.as_ref().map(|fault| format!("fault       {fault}")));
    }
    let leftover = leftover.map(|schema| {
        format!("leftover    {schema}, of an interrupted rebuild; the next one removes it")
    });
    lines.extend(leftover);
    lines.push(String::new());
    lines.join("\n")
}

fn as_json(
    head: Position,
    sealed: Position,
    cut: Option<&str>,
    projections: &[Projection],
    leftover: Option<&str>,
) -> Value {
    let projection = |Projection { name, position, lag, error, fault }: &Projection| {
        json!({
            "name": name,
            "position": position,
            "lag": lag,
            "status": if error.is_some() { "stopped" } else { "running" },
            "error": error,
            "fault": fault,
        })
    };
    let projections: Vec<Value> = projections.iter().map(projection).collect();
    json!({
        "head": head, "sealed": sealed, "fault": cut, "projections": projections,
        "leftover": leftover,
    })
}
