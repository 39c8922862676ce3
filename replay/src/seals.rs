//! Verifying the log against its seals, and proving single events.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use orion_store::seal::{Checkpoint, CheckpointError, LogPublicKey, Proof, Verdict, Verification};
use orion_store::{MasterKeys, Position, Vault};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Format;
use crate::output::{done, harmless, progress_bar, say};
use crate::verbs::Outcome;

/// Recomputes the tree, and says what is not as it was signed.
pub async fn verify(
    pool: &PgPool,
    keys: Vec<LogPublicKey>,
    masters: Option<MasterKeys>,
    kept: Option<&Path>,
    format: Format,
) -> Outcome {
    let kept = match kept.map(|path| open_kept(path, &keys)).transpose() {
        Ok(kept) => kept,
        Err(error) if error.is::<CheckpointError>() => {
            let fault = format!("the checkpoint kept elsewhere: {error}");
            return found(format, &fault);
        }
        Err(error) => return Err(error),
    };
    let vault = if let Some(masters) = masters {
        Some(Vault::of(pool.clone(), masters))
    } else {
        eprintln!(
            "orion-replay: without the master key events with personal values are not decoded"
        );
        None
    };
    let bar = progress_bar(0);
    let progress = |at: Position, head: Position| {
        bar.set_length(head.0.unsigned_abs());
        bar.set_position(at.0.max(0).unsigned_abs());
    };
    let verdict = Verification { keys, kept, vault }.run(pool, progress).await;
    bar.finish_and_clear();
    let verdict = verdict?;
    let said = match format {
        Format::Text => text(&verdict, kept.is_some()),
        Format::Json => format!("{:#}\n", as_json(&verdict)),
    };
    say(&said)?;
    Ok(verdict.faults.is_empty())
}

/// Tells of a fault because of which there is nothing else to tell.
fn found(format: Format, fault: &str) -> Outcome {
    done(format, harmless(fault), &json!({ "fault": fault }))?;
    Ok(false)
}

/// Reads a checkpoint that was kept elsewhere.
fn open_kept(path: &Path, keys: &[LogPublicKey]) -> Result<Checkpoint, Box<dyn Error>> {
    let note = std::fs::read_to_string(path)
        .map_err(|error| format!("--checkpoint: {} cannot be read: {error}", path.display()))?;
    Ok(Checkpoint::open(&note, keys)?)
}

fn text(verdict: &Verdict, has_kept: bool) -> String {
    let Verdict { head, sealed, unsealed, seals, faults, untold } = verdict;
    let mut text = String::new();
    for fault in faults {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", harmless(&fault.to_string()));
    }
    if *untold > 0 {
        let _ = writeln!(text, "and {untold} more");
    }
    let _ = writeln!(text, "head         {head}");
    let size = sealed.map_or(0, |sealed| sealed.size);
    let _ = writeln!(text, "sealed       {size}");
    if *unsealed > 0 {
        let _ = writeln!(text, "unsealed     {unsealed} events, of which nothing is signed yet");
    }
    if let Some(sealed) = sealed {
        let _ = writeln!(text, "root         {}", sealed.root_text());
    }
    let _ = writeln!(text, "checkpoints  {seals}");
    if !has_kept {
        let _ = writeln!(
            text,
            "kept         none was given: a log cut off with its checkpoints would look like this"
        );
    }
    let count = u64::try_from(faults.len()).unwrap_or(u64::MAX).saturating_add(*untold);
    let _ = writeln!(text, "faults       {count}");
    text
}

fn as_json(Verdict { head, sealed, unsealed, seals, faults, untold }: &Verdict) -> Value {
    let faults: Vec<Value> = faults
        .iter()
        .map(|fault| {
            json!({ "position": fault.position(), "kind": fault.kind(), "message": fault.to_string() })
        })
        .collect();
    let sealed = sealed.map(|sealed| json!({ "size": sealed.size, "root": sealed.root_text() }));
    json!({
        "head": head,
        "sealed": sealed,
        "unsealed": unsealed,
        "checkpoints": seals,
        "faults": faults,
        "untold": untold,
    })
}

/// Prints the proof of an event. What is wrong stands elsewhere: the proof is written into a file.
pub async fn prove(pool: &PgPool, keys: &[LogPublicKey], position: i64) -> Outcome {
    match orion_store::seal::prove(pool, keys, Position(position)).await {
        Ok(proof) => {
            say(&format!("{}\n", proof.text()?))?;
            Ok(true)
        }
        Err(error) if error.is_fault() => {
            eprintln!("orion-replay: {}", crate::line(&error));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Checks a proof, and says what it proves.
pub fn verify_proof(file: &Path, keys: &[LogPublicKey], format: Format) -> Outcome {
    let bytes = std::fs::read(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let proved = Proof::parse(&String::from_utf8_lossy(&bytes))
        .and_then(|proof| proof.verify(keys).map(|checkpoint| (proof.event, checkpoint)));
    let (event, checkpoint) = match proved {
        Ok(proved) => proved,
        Err(error) => return found(format, &format!("not proved: {error}")),
    };
    let recorded_at = event.recorded_at().map(|time| time.to_string()).unwrap_or_default();
    let text = format!(
        "proved       position {} of the log\n\
         event        {} version {}, number {} of {} {}\n\
         recorded     {recorded_at}\n\
         payload      {}\n\
         metadata     {}\n\
         checkpoint   size {}, root {}",
        event.position,
        harmless(&event.event_type),
        harmless(&event.event_version),
        event.sequence,
        harmless(&event.aggregate_type),
        event.aggregate_id,
        harmless(&event.payload),
        harmless(&event.metadata),
        checkpoint.size,
        checkpoint.root_text(),
    );
    // The event as the proof has it: payload and metadata byte by byte, as they were hashed.
    let json = json!({
        "event": event,
        "checkpoint": { "size": checkpoint.size, "root": checkpoint.root_text() },
    });
    done(format, text, &json)
}
