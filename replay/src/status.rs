//! How far everything is.

use orion_projections::{FactsError, PROJECTIONS, Status};
use orion_store::Position;
use orion_store::seal::newest_seal;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Format;
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
    match format {
        Format::Text => print_text(head, sealed, cut.as_deref(), &projections, leftover),
        Format::Json => {
            println!("{:#}", as_json(head, sealed, cut.as_deref(), &projections, leftover));
        }
    }
    let is_well =
        |projection: &Projection| projection.error.is_none() && projection.fault.is_none();
    Ok(!is_cut && projections.iter().all(is_well))
}

fn print_text(
    head: Position,
    sealed: Position,
    cut: Option<&str>,
    projections: &[Projection],
    leftover: Option<&str>,
) {
    println!("head        {head}");
    println!("sealed      {sealed}");
    if let Some(cut) = cut {
        println!("fault       {cut}");
    }
    for Projection { name, position, lag, error, fault } in projections {
        println!("projection  {name}");
        println!("position    {position}");
        println!("lag         {lag}");
        match error {
            None => println!("status      running"),
            Some(error) => {
                println!("status      stopped");
                println!("error       {error}");
            }
        }
        if let Some(fault) = fault {
            println!("fault       {fault}");
        }
    }
    if let Some(schema) = leftover {
        println!("leftover    {schema}, of an interrupted rebuild; the next one removes it");
    }
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
