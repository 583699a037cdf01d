//! `fusebox bench MODEL --decode N`: tokens per second of a decoder that is fed its own cache.
//!
//! Every step has sizes of its own, so its time includes finding or compiling the plan for them.

use crate::context::Context;
use crate::failure::Failure;
use fusebox::decode::Decoder;
use fusebox::{Model, Session, SessionOptions, Sizes, measure};
use fusebox_report::{Summary, Table, number};
use serde::Serialize;
use serde_json::json;
use std::time::Instant;

/// What to decode.
pub(super) struct Decoding {
    /// Steps after the prompt.
    pub(super) steps: u32,
    /// Worker threads.
    pub(super) threads: usize,
    /// Sizes of symbolic dims.
    pub(super) sizes: Sizes,
    /// Start of the random prompt.
    pub(super) seed: u64,
    /// Times the whole is done; the last one counts, the others warm up.
    pub(super) rounds: u32,
}

#[derive(Serialize)]
struct Decoded {
    prompt_tokens: usize,
    prompt: Vec<i64>,
    prompt_seconds: f64,
    steps: u32,
    samples: usize,
    positions: usize,
    tokens_per_second: f64,
    /// Seconds of a step.
    seconds: Summary,
    tokens: Vec<i64>,
    plans: usize,
    arena_bytes: usize,
    peak_memory_bytes: Option<u64>,
}

impl Decoding {
    pub(super) fn run(&self, cx: &Context, name: &str, model: &Model) -> Result<(), Failure> {
        let progress = cx.progress("loading");
        let session = Session::new(model, SessionOptions { threads: self.threads, isa: None })?;
        let mut decoded = None;
        for round in 0..=self.rounds {
            progress.stage(&format!("round {round} of {}", self.rounds));
            decoded = Some(self.round(model, &session)?);
        }
        drop(progress);
        let decoded = decoded.ok_or_else(|| Failure::usage("no round was run", "give --warmup a number"))?;
        let threads = session.threads();
        cx.answer(&json!({ "model": name, "threads": threads, "decode": decoded }), |style| {
            let titles =
                ["model", ">tokens/s", ">step median", ">min", ">p95", ">prompt", ">plans", ">arena"];
            let mut table = Table::new(&titles);
            table.row([
                name.to_owned(),
                format!("{:.1}", decoded.tokens_per_second),
                number::seconds(decoded.seconds.median),
                number::seconds(decoded.seconds.min),
                number::seconds(decoded.seconds.p95),
                number::seconds(decoded.prompt_seconds),
                decoded.plans.to_string(),
                number::bytes(decoded.arena_bytes as f64),
            ]);
            let memory =
                decoded.peak_memory_bytes.map_or_else(|| "unknown".into(), |b| number::bytes(b as f64));
            format!(
                "{}{} tokens in, {} steps up to position {}, {} thread{}; process memory at most {memory}\n",
                table.text(style),
                decoded.prompt_tokens,
                decoded.steps,
                decoded.positions,
                threads,
                if threads == 1 { "" } else { "s" },
            )
        })
    }

    fn round(&self, model: &Model, session: &Session) -> Result<Decoded, Failure> {
        let mut decoder = Decoder::new(model, session, &self.sizes, self.seed)?;
        let (prompt_tokens, _) = decoder.position();
        let prompt = decoder.tokens();
        let start = Instant::now();
        let mut tokens = decoder.step()?;
        let prompt_seconds = start.elapsed().as_secs_f64();
        let samples = tokens.len();
        let mut times = Vec::new();
        for _ in 0..self.steps {
            let start = Instant::now();
            let next = decoder.step()?;
            times.push(start.elapsed().as_secs_f64());
            tokens.extend(next);
        }
        let empty = || Failure::usage("no step was timed", "give --decode a number above zero");
        let seconds = Summary::of(&times).ok_or_else(empty)?;
        let total: f64 = times.iter().sum();
        let (plans, arena_bytes) = session.footprint();
        Ok(Decoded {
            prompt_tokens,
            prompt,
            prompt_seconds,
            steps: self.steps,
            samples,
            positions: decoder.position().1,
            tokens_per_second: f64::from(self.steps) * samples as f64 / total,
            seconds,
            tokens,
            plans,
            arena_bytes,
            peak_memory_bytes: measure::peak_memory(),
        })
    }
}
