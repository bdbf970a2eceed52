//! Certificates are rotated: another authority signs those of source and target, and the old one is trusted no more.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use lutra_harness::Server;
use lutra_harness::certificates::{Authority, trust};
use lutra_harness::link::Conditions;
use lutra_harness::mysql::{connect, execute};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use super::target::{kill_connections, settings_back, slow_commits};
use super::{Family, Fault, Injury, Need, Recovery};
use crate::campaign::short;
use crate::findings::Invariant;
use crate::ground::Ground;
use crate::plan::Dice;
use crate::rig::{LIMIT, Rig, tasks};
use crate::watch::named::NAMED_BY;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Rotated)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

impl Side {
    const BOTH: [Self; 2] = [Self::Source, Self::Target];

    fn servers(self, ground: &Ground) -> Result<Vec<&Server>> {
        match self {
            Self::Source => ground.sources(),
            Self::Target => Ok(vec![ground.stack.mysql("target")?]),
        }
    }

    /// Its servers show certificates of this authority, and Lutra has to connect anew.
    async fn certified(self, rig: &Rig, authority: &Authority) -> Result<()> {
        for server in self.servers(&rig.ground)? {
            authority.certify(server).await?;
        }
        self.cut(rig).await
    }

    /// All of Lutra's connections to it are killed.
    async fn cut(self, rig: &Rig) -> Result<()> {
        let users = match self {
            Self::Source => "ls\\_",
            Self::Target => "lt\\_",
        };
        for server in self.servers(&rig.ground)? {
            kill_connections(&server.url(), users).await?;
        }
        Ok(())
    }

    /// Whose task cannot go on when its certificate is not accepted.
    fn task(self, rig: &Rig) -> String {
        match self {
            Self::Source => format!("extract/{}", rig.world.source()),
            Self::Target => rig.load_task(),
        }
    }
}

struct Rotated;

impl Fault for Rotated {
    fn name(&self) -> String {
        "certificates-rotated".to_owned()
    }

    fn family(&self) -> Family {
        Family::Source
    }

    fn about(&self) -> String {
        "another authority signs the certificates of source and target; the file that the documents name holds it beside the old \
         one for a moment, and alone then, and all of Lutra's connections are killed; or one server shows its certificate before \
         the file has the authority: that must be named, and go on by itself when the file has it"
            .to_owned()
    }

    fn needs(&self) -> Option<Need> {
        Some(Need::Certificates)
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let file = rig.world.ca_file();
            let old = rig.ground.authority().context("the rig has no certificates")?;
            let new = Arc::new(Authority::new(&format!("rotation {}", rig.number()))?);
            let early = dice.one(&[None, Some(Side::Source), Some(Side::Target)]).copied().flatten();
            let (mut victim, mut looks) = ("source and target".to_owned(), Vec::new());
            if let Some(side) = early {
                side.certified(rig, &new).await?;
                let (wrong, after) = look(rig, &side.task(rig)).await;
                looks.push((Invariant::Named, wrong));
                tokio::time::sleep(dice.span(0, 2_000)).await;
                trust(&file, &[&old, &new])?;
                let mended = rig.probe(Instant::now(), LIMIT).await;
                let went_on = mended.as_ref().map_or(0.0, Duration::as_secs_f64);
                looks.push((Invariant::Recovers, mended.err().map(|error| short(&error, 400))));
                let after = after.as_secs_f64();
                victim = format!(
                    "{side} too early; named after {after:.1} s, went on {went_on:.1} s after the file was right"
                );
            } else {
                trust(&file, &[&old, &new])?;
            }
            for side in Side::BOTH.into_iter().filter(|side| Some(*side) != early) {
                side.certified(rig, &new).await?;
            }
            tokio::time::sleep(dice.span(0, 1_500)).await;
            rig.ground.rely_on(new);
            rig.ground.trust_alone(&file)?;
            let injury = Injury::now(victim, Recovery::Outage);
            for side in Side::BOTH {
                side.cut(rig).await?;
            }
            Ok(looks.into_iter().fold(injury, |injury, (invariant, wrong)| injury.looked(invariant, wrong)))
        })
    }
}

/// Waits until a task says that a certificate is not accepted; what is wrong, when it does not in time.
async fn look(rig: &Rig, task: &str) -> (Option<String>, Duration) {
    let since = Instant::now();
    loop {
        let wrong = match rig.status().await {
            Ok(status) => unnamed(&status, task),
            Err(error) => Some(format!("{error:#}")),
        };
        if wrong.is_none() || since.elapsed() > NAMED_BY {
            return (wrong, since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What is wrong with a status in which this task must say that a certificate is not accepted.
fn unnamed(status: &Value, task: &str) -> Option<String> {
    let Some(found) = tasks(status).find(|found| found["task"] == task) else {
        return Some(format!("there is no {task} in the status"));
    };
    // A failure of before stays in sight: it counts only where the task has failed now.
    let state = found["state"].as_str().unwrap_or_default();
    let says = if state == "FAILED" { &found["failure"] } else { &found["note"] }.to_string();
    let named = says.contains("TLS could not be set up") && says.contains("certificate");
    (!named).then(|| format!("{task} does not name a certificate: {state} {says:.400}"))
}

/// Loses the answer to a commit where the link cannot read what travels: commits are slow, answers are held, and the
/// connections broken when the target has carried one out meanwhile.
pub(super) async fn lose_an_answer(rig: &Rig, dice: &mut Dice) -> Result<()> {
    execute(&rig.world.target_url, slow_commits(rig.ground.form.target)).await?;
    let lost = carried_out_unheard(rig, dice).await;
    rig.ground.set("target", Conditions::default())?;
    execute(&rig.world.target_url, settings_back(rig.ground.form.target)).await?;
    lost
}

async fn carried_out_unheard(rig: &Rig, dice: &mut Dice) -> Result<()> {
    const TRIES: u32 = 20;
    for _ in 0..TRIES {
        tokio::time::sleep(dice.span(50, 350)).await;
        rig.ground.set("target", Conditions { hold_answers: true, ..Conditions::default() })?;
        // What the link had in hand still arrives.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = slots(rig).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let moved = slots(rig).await? != before;
        if moved {
            rig.ground.reset("target")?;
        }
        rig.ground.set("target", Conditions::default())?;
        if moved {
            return Ok(());
        }
    }
    bail!("no commit was carried out while answers were held, {TRIES} times")
}

/// Where the target's checkpoint stands.
async fn slots(rig: &Rig) -> Result<Vec<(u16, u64)>> {
    let mut conn = connect(&rig.world.target_url).await?;
    let question = format!("SELECT slot, sequence FROM lutra.slot WHERE task = '{}' ORDER BY slot", rig.load_task());
    let found = conn.query(question).await.context("ask for slot rows")?;
    conn.disconnect().await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_task_itself_must_name_the_certificate() {
        let status = |state: &str, failure: &str, note: &str| {
            let task = json!({"task": "extract/s", "state": state, "failure": {"message": failure}, "note": note});
            json!({"pipelines": [{"tasks": [task]}]})
        };
        let text = "TLS could not be set up: invalid peer certificate: UnknownIssuer";
        assert_eq!(unnamed(&status("FAILED", text, ""), "extract/s"), None);
        assert_eq!(unnamed(&status("RUNNING", "", text), "extract/s"), None);
        assert!(unnamed(&status("RUNNING", text, ""), "extract/s").is_some(), "a failure of before");
        assert!(unnamed(&status("FAILED", "no answer within 10 s", text), "extract/s").is_some());
        assert!(unnamed(&status("FAILED", text, ""), "load/p").is_some());
    }
}
