//! `fusebox bench MODEL`: how fast a model runs, beside a baseline where one is given.

use super::Verb;
use super::decoding::Decoding;
use crate::context::Context;
use crate::failure::Failure;
use crate::options::{DimArgs, ModelArg, parse_threads};
use clap::Args;
use fusebox::attempts;
use fusebox::inputs::{DrawOptions, Inputs};
use fusebox::measure::{self, Contender, PlanFacts};
use fusebox::{Model, Profile, Session, SessionOptions, Sizes};
use fusebox_report::{Cell, Paint, Style, Summary, Table, number};
use serde::Serialize;
use serde_json::json;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArg,
    /// Model to take turns with
    #[arg(long, value_name = "MODEL2", conflicts_with = "serve")]
    baseline: Option<PathBuf>,
    /// Worker threads; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
    /// Timed runs
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Runs before the clock starts
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup: u32,
    #[command(flatten)]
    dims: DimArgs,
    /// Start of the random inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Time every step
    #[arg(long, conflicts_with = "serve")]
    profile: bool,
    /// Steps of the profile to show, the slowest first; 0 is all of them in order
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Decode N tokens step by step, feeding the cache back, and report tokens per second; --warmup counts rounds
    #[arg(long, value_name = "N", conflicts_with_all = ["serve", "baseline", "profile"],
        value_parser = clap::value_parser!(u32).range(1..))]
    decode: Option<u32>,
    /// Wait for `run N` and `quit` on stdin, answer on stdout with lines of JSON: for side-by-side comparisons
    #[arg(long)]
    serve: bool,
}

/// A model made ready, and how long that took.
struct Ready {
    name: String,
    session: Session,
    inputs: Inputs,
    precision: fusebox::kernels::gemm::Precision,
    load: f64,
    /// Best of the machine's peaks measured before and after the runs, in GFLOP/s.
    peak: f64,
}

#[derive(Serialize)]
struct Measured {
    model: String,
    /// File to ready session, in seconds.
    load_seconds: f64,
    /// Seconds of a run.
    seconds: Summary,
    plan: PlanFacts,
    gflops: f64,
    peak_gflops: f64,
    share_of_peak: f64,
    /// The other side's median over this one's; absent for the only or first model.
    #[serde(skip_serializing_if = "Option::is_none")]
    speedup_of_first: Option<f64>,
}

impl Verb for Bench {
    const NAME: &'static str = "bench";
    const ABOUT: &'static str = "Measure how fast a model runs";

    fn run(self, cx: &Context) -> Result<(), Failure> {
        let progress = cx.progress("loading");
        let sizes = self.dims.sizes()?;
        let (model, opened) = self.model.open_timed()?;
        if let Some(steps) = self.decode {
            drop(progress);
            let (threads, seed, rounds) = (self.threads, self.seed, self.warmup);
            let decoding = Decoding { steps, threads, sizes, seed, rounds };
            return decoding.run(cx, &name_of(&self.model.model), &model);
        }
        if self.serve {
            let ready = self.ready(&self.model.model, (model, opened), &sizes)?;
            drop(progress);
            return serve(cx, &ready);
        }
        let sides = match &self.baseline {
            None => vec![self.ready(&self.model.model, (model, opened), &sizes)?],
            Some(path) => {
                let start = Instant::now();
                let baseline = self.model.data.open(path)?;
                let baseline_opened = start.elapsed().as_secs_f64();
                // Both run on the same sizes, also where one of them has fixed some.
                let mut here = fusebox::sizes::fixed_by(&model, &baseline);
                here.extend(sizes);
                let mut there = fusebox::sizes::fixed_by(&baseline, &model);
                let mut first = self.ready(&self.model.model, (model, opened), &here)?;
                let named = fusebox::sizes::symbols(&baseline.graph);
                there.extend(first.inputs.sizes.clone());
                there.retain(|name, _| named.contains(name));
                let mut second = self.ready(path, (baseline, baseline_opened), &there)?;
                if first.name == second.name {
                    // Two files of one name lie in different folders.
                    first.name = self.model.model.display().to_string();
                    second.name = path.display().to_string();
                }
                vec![first, second]
            }
        };
        let contenders: Vec<Contender<'_>> = sides
            .iter()
            .map(|side| Contender { session: &side.session, feeds: side.inputs.feeds() })
            .collect();
        let (warmup, runs) = (self.warmup as usize, self.runs as usize);
        let times = measure::interleave(&contenders, warmup, runs, &|done| {
            progress.stage(&format!("run {done} of {runs}"));
        })?;
        let profile =
            if self.profile { Some(contenders[0].session.profile(&contenders[0].feeds)?.1) } else { None };
        progress.stage("measuring the machine's peak");
        let mut measured: Vec<Measured> = Vec::new();
        for ((side, contender), times) in sides.iter().zip(&contenders).zip(&times) {
            let peak = side.peak.max(side.measure_peak());
            measured.push(side.measured(contender, times, peak, measured.first())?);
        }
        drop(progress);
        let memory = measure::peak_memory();
        let answer = json!({
            "threads": sides[0].session.threads(), "sizes": sides[0].inputs.sizes, "models": measured,
            "peak_memory_bytes": memory, "profile": profile.as_ref().map(profile_json),
        });
        cx.answer(&answer, |style| {
            let mut out = self.text(&sides[0], &measured, memory, style);
            if let Some(profile) = &profile {
                out.push('\n');
                out.push_str(&profile_table(profile, self.top, style));
            }
            out
        })
    }
}

impl Bench {
    fn ready(&self, path: &Path, (model, opened): (Model, f64), sizes: &Sizes) -> Result<Ready, Failure> {
        let options = DrawOptions { seed: self.seed, sizes: sizes.clone(), ..DrawOptions::default() };
        let start = Instant::now();
        let session = Session::new(&model, SessionOptions { threads: self.threads, isa: None })?;
        let opened = opened + start.elapsed().as_secs_f64();
        // One run, so that a model that cannot run fails before anything is measured.
        let (inputs, prepared) = attempts::first(&model, &options, attempts::USUAL, |inputs| {
            let start = Instant::now();
            if inputs.list.len() == model.graph.inputs.len() {
                let shapes: Vec<Vec<usize>> = inputs.list.iter().map(|i| i.tensor.shape().to_vec()).collect();
                session.prepare(&shapes)?;
            }
            let prepared = start.elapsed().as_secs_f64();
            session.run(&inputs.feeds())?;
            Ok(prepared)
        })?;
        let load = opened + prepared;
        let name = name_of(path);
        let precision = measure::gemm_precision(&model);
        let mut ready = Ready { name, session, inputs, precision, load, peak: 0.0 };
        if !self.serve {
            ready.peak = ready.measure_peak();
        }
        Ok(ready)
    }

    fn text(&self, first: &Ready, measured: &[Measured], memory: Option<u64>, style: &Style) -> String {
        let titles = [
            "model",
            ">median",
            ">min",
            ">p95",
            ">work",
            ">speed",
            ">of peak",
            ">arena",
            ">load",
            ">vs first",
        ];
        let mut table = Table::new(&titles);
        for m in measured {
            table.row([
                m.model.clone(),
                number::seconds(m.seconds.median),
                number::seconds(m.seconds.min),
                number::seconds(m.seconds.p95),
                number::flops(m.plan.flops),
                number::gflops(m.gflops),
                number::percent(m.share_of_peak),
                number::bytes(m.plan.arena_bytes as f64),
                number::seconds(m.load_seconds),
                m.speedup_of_first.map_or_else(String::new, |ratio| format!("{ratio:.2}×")),
            ]);
        }
        let mut out = table.text(style);
        let sizes: Vec<String> =
            first.inputs.sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
        let at = if sizes.is_empty() { String::new() } else { format!(" at {}", sizes.join(" ")) };
        let threads = first.session.threads();
        let peak = number::gflops(measured.first().map_or(0.0, |m| m.peak_gflops));
        let memory = memory.map_or_else(|| "unknown".into(), |bytes| number::bytes(bytes as f64));
        out.push_str(&format!(
            "{} runs{at}, {threads} thread{}; measured peak {peak}; process memory at most {memory}\n",
            self.runs,
            if threads == 1 { "" } else { "s" },
        ));
        for m in measured {
            if m.plan.in_segments {
                out.push_str(&format!(
                    "{} runs in segments, where sizes depend on data or bodies run by themselves; work and arena are \
                     those of the first; --profile shows all\n",
                    m.model
                ));
            }
            if m.plan.fallbacks > 0 {
                let text = format!(
                    "{}: {} of {} steps have no kernel and run the reference evaluation; --profile names them\n",
                    m.model, m.plan.fallbacks, m.plan.steps
                );
                out.push_str(&style.paint(Paint::Bad, &text));
            }
        }
        out
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

impl Ready {
    fn measure_peak(&self) -> f64 {
        fusebox::kernels::probe::measure_peak(self.precision, self.session.threads())
    }

    fn measured(
        &self,
        contender: &Contender<'_>,
        times: &[f64],
        peak_gflops: f64,
        first: Option<&Measured>,
    ) -> Result<Measured, Failure> {
        let empty = || Failure::usage("no run was timed", "give --runs a number above zero");
        let seconds = Summary::of(times).ok_or_else(empty)?;
        let plan = contender.plan()?;
        let gflops = plan.flops / seconds.median / 1e9;
        Ok(Measured {
            model: self.name.clone(),
            load_seconds: self.load,
            seconds,
            plan,
            gflops,
            peak_gflops,
            share_of_peak: gflops / peak_gflops,
            speedup_of_first: first.map(|first| seconds.median / first.seconds.median),
        })
    }
}

/// The line protocol of `--serve`.
fn serve(cx: &Context, ready: &Ready) -> Result<(), Failure> {
    let contender = Contender { session: &ready.session, feeds: ready.inputs.feeds() };
    cx.print(&format!("ready {}\n", json!({ "load_ms": ready.load * 1e3 })))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Failure::Output)?;
        match line.trim().split_once(' ') {
            Some(("run", count)) => {
                let wrong = || Failure::usage(format!("{line:?} is no command"), "write `run N` or `quit`");
                let count: usize = count.trim().parse().map_err(|_| wrong())?;
                let times: Vec<f64> = contender.times(count)?.into_iter().map(|s| s * 1e6).collect();
                cx.print(&format!("{}\n", json!({ "times_us": times })))?;
            }
            _ if line.trim() == "quit" => break,
            _ if line.trim().is_empty() => {}
            _ => return Err(Failure::usage(format!("{line:?} is no command"), "write `run N` or `quit`")),
        }
    }
    Ok(())
}

fn profile_json(profile: &Profile) -> serde_json::Value {
    let steps: Vec<_> = profile
        .steps
        .iter()
        .map(|s| json!({ "kernel": s.kernel, "nodes": s.nodes, "seconds": s.time.as_secs_f64(), "flops": s.flops, "fallback": s.fallback }))
        .collect();
    json!({ "seconds": profile.total.as_secs_f64(), "steps": steps })
}

/// One row per step; steps without a kernel in red.
fn profile_table(profile: &Profile, top: usize, style: &Style) -> String {
    let mut steps: Vec<_> = profile.steps.iter().enumerate().collect();
    if top > 0 {
        steps.sort_by_key(|(index, step)| (std::cmp::Reverse(step.time), *index));
        steps.truncate(top);
    }
    let sum: f64 = profile.steps.iter().map(|s| s.time.as_secs_f64()).sum();
    let mut table =
        Table::new(&[">step", ">time", ">share", ">speed", "kernel", "nodes", "no kernel because"]);
    for (index, step) in &steps {
        let seconds = step.time.as_secs_f64();
        let paint = if step.fallback.is_some() { Paint::Bad } else { Paint::Plain };
        let speed = if step.flops > 0.0 {
            number::gflops(step.flops / seconds.max(1e-9) / 1e9)
        } else {
            String::new()
        };
        table.row([
            Cell::painted(index.to_string(), paint),
            Cell::painted(number::seconds(seconds), paint),
            Cell::painted(number::percent(seconds / sum.max(1e-12)), paint),
            Cell::painted(speed, paint),
            Cell::painted(step.kernel.clone(), paint),
            Cell::painted(step.nodes.join(", "), paint),
            Cell::painted(step.fallback.clone().unwrap_or_default(), paint),
        ]);
    }
    let rest = profile.steps.len() - steps.len();
    let more =
        if rest > 0 { format!("and {rest} more steps; --top 0 shows all in order\n") } else { String::new() };
    let slow: f64 = fallback_seconds(profile);
    let red = if slow > 0.0 {
        format!("steps without a kernel take {} of the time\n", number::percent(slow / sum.max(1e-12)))
    } else {
        String::new()
    };
    format!(
        "{}{more}{red}run {}, steps {}\n",
        table.text(style),
        number::time(profile.total),
        number::seconds(sum)
    )
}

fn fallback_seconds(profile: &Profile) -> f64 {
    profile.steps.iter().filter(|s| s.fallback.is_some()).map(|s| s.time.as_secs_f64()).sum()
}
