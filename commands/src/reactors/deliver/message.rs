//! What a mail and a webhook say: ids and codes, no text that anybody wrote but the name of a stage.

use chrono::SecondsFormat;
use orion_domain::notification::kinds_of;
use orion_domain::values::{Personal, UserId};
use orion_domain::{ContentEvent, Event, PublishEvent, User};
use orion_store::{Fact, Keys};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::queue::Delivery;
use super::tell::News;
use crate::mail::Mail;
use crate::webhook::{Message, webhook_secret};

/// The namespace of the ids of deliveries.
const DELIVERIES: Uuid = Uuid::from_u128(0x3d0e_6b1c_9f57_4c39_8a0d_51b2_7e94_c6a3);

/// The id of a delivery: the same whenever it is repeated.
fn id_of(delivery: &Delivery) -> Uuid {
    let Delivery { user_id, channel, position, .. } = delivery;
    Uuid::new_v5(&DELIVERIES, format!("{}:{position}:{user_id}", channel.as_str()).as_bytes())
}

/// The mail about an event, if its user wants it and is known to read the mail of the address.
pub(super) fn mail(fact: &Fact, delivery: &Delivery, user: &User) -> Option<Mail> {
    let (news, content_id) = News::of(fact)?;
    let to = user.email().filter(|_| user.active_role().is_some() && user.is_email_verified())?;
    if !news.is_wanted(&user.notification_preferences()) {
        return None;
    }
    let (subject, happened) = match news {
        News::Published => ("Your content was published", "was published.".to_owned()),
        News::GenerationFailed => (
            "The generation of your content failed",
            format!("is a draft again: the stage {} failed.", stage(fact)),
        ),
        News::PublishFailed => {
            ("Publishing your content failed", format!("was not taken by {}.", platform(fact)))
        }
    };
    let text = format!(
        "Hello,\n\n\
         your content {content_id}\n\
         {happened}\n\n\
         You get this mail because of your settings, notification_preferences:\n\
         email_on_publish and email_on_failure switch such mails off.\n"
    );
    Some(Mail {
        id: id_of(delivery),
        user_id: UserId(delivery.user_id),
        to: Personal::new(to.clone()),
        subject,
        text: text.into(),
        link: None,
    })
}

fn stage(fact: &Fact) -> &str {
    if let Event::Content(ContentEvent::GenerationFailed { stage, .. }) = &fact.event {
        stage.as_str()
    } else {
        ""
    }
}

fn platform(fact: &Fact) -> &str {
    if let Event::Publish(PublishEvent::Failed { destination, .. }) = &fact.event {
        destination.platform.as_str()
    } else {
        ""
    }
}

/// The webhook about an event, if its user still wants it.
pub(super) fn webhook(
    keys: &Keys,
    fact: &Fact,
    delivery: &Delivery,
    user: &User,
) -> Option<Message> {
    let preferences = user.notification_preferences();
    let kind = preferences.first_wanted(kinds_of(&fact.event))?;
    let url = preferences.webhook_url.filter(|_| user.active_role().is_some())?;
    let mut body = json!({
        "kind": kind,
        "position": fact.position.to_string(),
        "createdAt": fact.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "userId": delivery.user_id,
    });
    if let Some(fields) = body.as_object_mut() {
        fields.append(&mut subject(fact));
    }
    let user_id = UserId(delivery.user_id);
    Some(Message {
        url,
        id: id_of(delivery),
        body: body.to_string(),
        secret: webhook_secret(keys, user_id),
    })
}

/// The type of the event, and the ids of what it is about.
fn subject(fact: &Fact) -> Map<String, Value> {
    let id = fact.aggregate_id;
    let subject = match &fact.event {
        Event::Trend(event) => {
            json!({ "eventType": event_type(event.type_and_version()), "trendId": id })
        }
        Event::Session(event) => {
            json!({ "eventType": event_type(event.type_and_version()), "sessionId": id })
        }
        Event::Content(event) => {
            let event_type = event_type(event.type_and_version());
            match event {
                ContentEvent::StageStarted { run_id, stage }
                | ContentEvent::StageCompleted { run_id, stage }
                | ContentEvent::StageFailed { run_id, stage, .. } => json!({
                    "eventType": event_type, "contentId": id, "runId": run_id, "stage": stage,
                }),
                ContentEvent::Drafted { trend_id, .. } => {
                    json!({ "eventType": event_type, "contentId": id, "trendId": trend_id })
                }
                ContentEvent::Edited { .. }
                | ContentEvent::GenerationStarted { .. }
                | ContentEvent::GenerationFailed { .. }
                | ContentEvent::ScriptWritten { .. }
                | ContentEvent::MediaAssetAttached { .. }
                | ContentEvent::SubmittedForReview {}
                | ContentEvent::Approved { .. }
                | ContentEvent::Rejected { .. }
                | ContentEvent::ReturnedToDraft {}
                | ContentEvent::Published { .. } => {
                    json!({ "eventType": event_type, "contentId": id })
                }
            }
        }
        Event::User(_)
        | Event::Publish(_)
        | Event::SocialAccount(_)
        | Event::Provider(_)
        | Event::ServiceToken(_) => Value::Null,
    };
    if let Value::Object(fields) = subject { fields } else { Map::new() }
}

fn event_type((event_type, _): (&'static str, &'static str)) -> &'static str {
    event_type
}
