//! Whole trainings through the kernels: the same bits in any order of threads, from rows on the host, after interruptions, and of
//! attempts side by side; memory that is planned; steps that are one recorded graph; and a model that labels as it does on the CPU.

use std::cell::Cell;
use std::iter;

use crate::common::{cases, seed};
use crate::shared_training::{self, Notes, bits, told};
use neuncut::bench::StepShape;
use neuncut::cpu::{Fast, Reference};
use neuncut::cuda::tiles::{Tiles, Tiling};
use neuncut::cuda::{Cuda, Driver};
use neuncut::features::{Pipeline, Reader};
use neuncut::graph::{GraphRule, Width, build};
use neuncut::model::Model;
use neuncut::ops::{
    AdamRule, AffinityRule, Cut, GraphForm, HeatKernel, Objective, Ops, Penalty, Precision, Shape, StepState,
    Volumes,
};
use neuncut::predict::Predictor;
use neuncut::progress::Silent;
use neuncut::train::{
    Beginning, Checkpoint, EpochRecord, Goal, Plan, SearchPlan, Stage, Step, StepRule, StepSize, Targets,
    TrainingGraph, TrainingRows, WarmUp, Watch, in_order, search, train,
};
use neuncut::validate::Random;
use neuncut::{Error, Result};
use neuncut_emulator::{Counts, Emulator, MODE, Mode};

/// The most launches that a step on digits may take.
const MOST_LAUNCHES: usize = 14;

const MIB: u64 = 1 << 20;

fn plan(neighbors: Option<usize>) -> Plan {
    Plan {
        goal: Goal::Cut,
        clusters: 4,
        ranked: false,
        hidden: vec![32, 16],
        batch: 128,
        per_seed: 0,
        first_epoch: 0,
        epochs: 3,
        learning_rate: 0.01,
        seed: 5,
        rule: StepRule {
            affinity: AffinityRule::Heat(HeatKernel {
                sigma: 4.0,
                neighbors,
            }),
            objective: Objective {
                gamma: 3.0,
                penalty: Penalty::Squared,
                volumes: Volumes::Through,
                cut: Cut::Ncut,
            },
            adam: AdamRule::new(1e-4),
        },
    }
}

/// Four clouds of rows of `d` columns.
fn rows(count: usize, d: usize) -> Vec<f32> {
    shared_training::rows(&Random::new(seed("the rows"), 0), count, d, 4)
}

/// The training rows where the backend wants them.
fn resident<O: Ops<Real = f32>>(ops: &O, rows: &[f32], d: usize) -> O::Matrix {
    let mut data = ops.training_rows(rows.len() / d, d).unwrap();
    ops.upload(rows, &mut data, 0).unwrap();
    data
}

fn run(cuda: &Cuda<Emulator>, plan: &Plan, rows: &[f32], d: usize, notes: &mut dyn Watch) -> Result<Model> {
    train_on(cuda, plan, &resident(cuda, rows, d), None, notes)
}

/// Trains on rows that are where the backend wants them.
fn train_on(
    cuda: &Cuda<Emulator>,
    plan: &Plan,
    data: &<Cuda<Emulator> as Ops>::Matrix,
    from: Option<Checkpoint>,
    notes: &mut dyn Watch,
) -> Result<Model> {
    let rows = TrainingRows {
        x: data,
        graph: None,
        truth: None,
    };
    let beginning = Beginning::of(plan.random_model(data.cols()));
    let trained = train(cuda, plan, &rows, Stage::default(), beginning, from, notes)?;
    Ok(trained.model)
}

/// Stops a training before a step, saves, and goes on in another process, as it were: with `go_on` in place of `begin`.
fn interrupted(
    [begin, go_on]: [&Cuda<Emulator>; 2],
    plan: &Plan,
    rows: &[f32],
    d: usize,
    steps: usize,
) -> (Model, Vec<EpochRecord>) {
    let mut before = Notes {
        steps_allowed: Some(steps),
        ..Notes::default()
    };
    let stopped = run(begin, plan, rows, d, &mut before);
    assert!(matches!(stopped, Err(Error::Interrupted(_))), "{stopped:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    before.checkpoints[0].save(&path).unwrap();
    let checkpoint = Checkpoint::load(&path).unwrap();
    assert_eq!(checkpoint.step, steps as u64);
    let data = resident(go_on, rows, d);
    let mut after = Notes::default();
    let model = train_on(go_on, plan, &data, Some(checkpoint), &mut after).unwrap();
    (model, [told(&before.records), told(&after.records)].concat())
}

#[test]
fn training_gives_the_same_bits_in_any_order_of_threads() {
    let rows = rows(512, 20);
    let schedule = seed("the second schedule").max(1);
    let ways = [
        (Precision::Fp32, None),
        (Precision::Bf16, Some(10)),
        (Precision::Fp32, Some(10)),
        (Precision::Bf16, None),
    ];
    for &(precision, neighbors) in cases(&ways, 2) {
        let plan = plan(neighbors);
        let trained = |schedule| {
            let cuda = Cuda::new(Emulator::new().with_seed(schedule), precision);
            let mut notes = Notes::default();
            let model = run(&cuda, &plan, &rows, 20, &mut notes).unwrap();
            (bits(&model), told(&notes.records))
        };
        let (first, again) = (trained(0), trained(schedule));
        assert_eq!(first, again, "{precision:?}, {neighbors:?} neighbours");
    }
}

/// Steps of more than a few clusters, in tiles of either size: recorded, made call by call, and with rows that the host feeds.
#[test]
fn many_clusters_in_bf16_give_the_same_bits_recorded_or_not_wherever_the_rows_are() {
    let (m, d, batches) = (130, 40, 3);
    let rows = rows(m * batches, d);
    let model = Model::random(1, d, &[72, 136], 40);
    let size = StepSize {
        rows: m,
        batches,
        training_rows: m * batches,
    };
    let schedule = seed("the second schedule").max(1);
    // The watched modes watch the others elsewhere.
    let sizes = match MODE {
        Mode::Plain => &Tiles::ALL[..],
        Mode::Sanitize | Mode::Race => &[Tiles::Wide],
    };
    for &tiles in sizes {
        let trained = |schedule, feeds: bool, recorded: bool| {
            let cuda =
                Cuda::new(Emulator::new().with_seed(schedule), Precision::Bf16).tiling(Tiling::Always(tiles));
            let cuda = if feeds { cuda.feeding_rows() } else { cuda };
            let data = resident(&cuda, &rows, d);
            let state = StepState {
                learning_rate: 1e-3,
                ..StepState::default()
            };
            let mut step = Step::new(&cuda, &model, plan(None).rule, size, None, state).unwrap();
            for batch in 0..2 * batches {
                let state = StepState {
                    batch: (batch % batches) as u32,
                    step: batch as u64,
                    ..state
                };
                cuda.set_state(state, &mut step.state).unwrap();
                match recorded {
                    true => step.run(&cuda, &data, None).unwrap(),
                    // What is profiled is not recorded.
                    false => {
                        let profile = cuda.profile(&mut || step.run(&cuda, &data, None)).unwrap();
                        let wide = profile.iter().any(|(kernel, _)| kernel.contains("wide"));
                        assert_eq!(wide, tiles == Tiles::Wide, "{profile:?}");
                    }
                }
            }
            bits(&step.learner.network.to_model(&cuda).unwrap())
        };
        let first = trained(0, false, true);
        assert_eq!(first, trained(schedule, false, false), "call by call");
        assert_eq!(first, trained(0, true, true), "fed by the host");
    }
}

#[test]
fn an_interrupted_training_gives_the_bits_of_an_uninterrupted_one() {
    let rows = rows(512, 20);
    for (precision, neighbors) in [(Precision::Tf32x3, None), (Precision::Fp32, Some(10))] {
        let plan = plan(neighbors);
        let cuda = || Cuda::new(Emulator::new(), precision);
        let mut whole = Notes::default();
        let model = run(&cuda(), &plan, &rows, 20, &mut whole).unwrap();
        // In mid-epoch, at the very beginning, after the first step, between two epochs, before the last step.
        for &steps in cases(&[6, 0, 1, 8, 11], 1) {
            let (resumed, records) = interrupted([&cuda(), &cuda()], &plan, &rows, 20, steps);
            assert_eq!(
                bits(&model),
                bits(&resumed),
                "{precision:?}, stopped after {steps} steps"
            );
            assert_eq!(
                told(&whole.records),
                records,
                "{precision:?}, stopped after {steps} steps"
            );
        }
    }
}

/// A search from labels that hardly fit, on a graph, with a round of moves: short attempts in several stages.
fn search_plan(side_by_side: usize) -> SearchPlan {
    let plan = plan(None);
    SearchPlan {
        cut: Plan {
            ranked: true,
            hidden: vec![8],
            batch: 32,
            per_seed: 3,
            epochs: 2,
            // So little that the labels still hardly fit.
            learning_rate: 1e-4,
            rule: StepRule {
                affinity: AffinityRule::Graph(GraphForm::Sparse),
                ..plan.rule
            },
            ..plan
        },
        warm_up: WarmUp {
            epochs: 2,
            batch: 32,
            learning_rate: 0.01,
        },
        begin_with: None,
        moves: 1,
        attempts: 3,
        side_by_side,
    }
}

/// Runs a search on rows that are already where the backend wants them.
fn run_search(
    cuda: &Cuda<Emulator>,
    plan: &SearchPlan,
    (rows, d): (&[f32], usize),
    from: Vec<Checkpoint>,
    watch: &mut dyn Watch,
) -> Result<Model> {
    let cpu = Fast::new(1).unwrap();
    let rule = GraphRule {
        neighbors: 6,
        width: Width::SelfTuning,
        one_sided: 0.1,
    };
    let edges = build(&cpu, &resident(&cpu, rows, d), rule, &mut Silent).unwrap();
    let (x, graph) = (resident(cuda, rows, d), cuda.graph("the graph", &edges)?);
    let rows = TrainingRows {
        x: &x,
        graph: Some(TrainingGraph {
            edges: &edges,
            resident: &graph,
        }),
        truth: None,
    };
    // Rows of different clouds in some clusters, so that moves find something.
    let mut starts = |attempt: usize, clusters: usize| {
        let label = |i: usize| ((i + attempt) / 2 % clusters) as u32;
        Ok(Some(Targets::of((0..edges.rows()).map(label).collect())))
    };
    search(cuda, plan, &rows, &mut starts, from, watch)
}

/// Notes of a search in the order in which attempts would come one after the other.
fn ordered(records: &[EpochRecord]) -> Vec<EpochRecord> {
    let mut records = told(records);
    in_order(&mut records);
    records
}

#[test]
fn attempts_side_by_side_give_the_bits_of_attempts_one_after_the_other() {
    let cuda = || Cuda::new(Emulator::new(), Precision::Fp32);
    let searched = || {
        let rows = rows(96, 20);
        let mut alone = Notes {
            steps_allowed: Some(usize::MAX),
            ..Notes::default()
        };
        let one = cuda();
        let model = run_search(&one, &search_plan(1), (&rows, 20), Vec::new(), &mut alone).unwrap();
        (rows, one, model, alone)
    };
    // Now and then the labels fit so well that there is nothing to be moved.
    let (rows, one, model, alone) = iter::repeat_with(searched)
        .take(10)
        .find(|(.., alone)| alone.stages.iter().any(|stage| stage.moves > 0))
        .expect("a search in which moves are made");
    let rows = (&rows[..], 20);
    assert_eq!(one.driver().counts().queues, 0);
    assert_eq!(ordered(&alone.records), told(&alone.records));

    let three = cuda();
    let mut beside = Notes::default();
    let found = run_search(&three, &search_plan(3), rows, Vec::new(), &mut beside).unwrap();
    assert_eq!(three.driver().counts().queues, 2);
    assert_eq!(bits(&model), bits(&found));
    assert_eq!(ordered(&beside.records), told(&alone.records));
    let epochs: Vec<_> = beside.records.iter().map(|r| (r.attempt, r.epoch)).collect();
    assert_eq!(epochs[..4], [(1, 1), (2, 1), (3, 1), (1, 2)], "one epoch of each");

    // Stopped at random, with one under way, with all three, and with some over; resumed either way.
    let total = usize::MAX - alone.steps_allowed.unwrap();
    // After the first epochs of all three, of three steps each.
    let at_random = 10 + Random::new(seed("the stop"), 0).below(total - 14);
    let folder = tempfile::tempdir().unwrap();
    for &(steps, resumed_side_by_side) in cases(&[(at_random, 2), (1, 3), (10, 1), (total - 1, 3)], 1) {
        let mut before = Notes {
            steps_allowed: Some(steps),
            ..Notes::default()
        };
        let stopped = run_search(&cuda(), &search_plan(3), rows, Vec::new(), &mut before);
        assert!(matches!(stopped, Err(Error::Interrupted(_))), "{stopped:?}");
        let from = before.reloaded(folder.path());
        assert_eq!(from.len(), if steps == 1 { 1 } else { 3 });
        let mut after = Notes::default();
        let plan = search_plan(resumed_side_by_side);
        let resumed = run_search(&cuda(), &plan, rows, from, &mut after).unwrap();
        assert_eq!(
            bits(&model),
            bits(&resumed),
            "stopped after {steps} of {total} steps"
        );
        let records = [&before.records[..], &after.records].concat();
        assert_eq!(
            ordered(&records),
            told(&alone.records),
            "stopped after {steps} of {total} steps"
        );
    }
}

/// Looks after the memory while a search runs.
struct Least<'a> {
    emulator: &'a Emulator,
    free: u64,
    notes: Notes,
}

impl Watch for Least<'_> {
    fn stage(&mut self, plan: &Plan, stage: Stage) {
        Watch::stage(&mut self.notes, plan, stage);
    }
    fn stop(&mut self) -> bool {
        self.free = self.free.min(self.emulator.free_memory().unwrap());
        false
    }
    fn step(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.notes.epoch(record)
    }
    fn wants_checkpoint(&mut self, _: usize) -> bool {
        false
    }
    fn checkpoint(&mut self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }
}

#[test]
fn as_many_attempts_run_side_by_side_as_the_memory_has_room_for() {
    let rows = (&rows(96, 20)[..], 20);
    // The bytes that the steps take, and what it comes to.
    let run = |side_by_side, memory| {
        let cuda = Cuda::new(Emulator::new().with_memory(memory), Precision::Fp32);
        let mut watch = Least {
            emulator: cuda.driver(),
            free: memory,
            notes: Notes::default(),
        };
        let plan = search_plan(side_by_side);
        let model = run_search(&cuda, &plan, rows, Vec::new(), &mut watch).unwrap();
        (memory - watch.free, (bits(&model), ordered(&watch.notes.records)))
    };
    let [one, two, three] = [1, 2, 3].map(|side_by_side| run(side_by_side, 16 * MIB));
    assert!(one.0 < two.0 && two.0 < three.0);
    // To the byte what one needs, or two.
    for memory in [one.0, two.0] {
        let found = run(3, memory);
        assert_eq!(found.0, memory, "all of it is used");
        assert_eq!(found.1, one.1, "{memory} bytes");
    }
}

#[test]
fn rows_that_the_host_feeds_are_fed_to_one_attempt_at_a_time() {
    let rows = (&rows(96, 20)[..], 20);
    let trained = |cuda: Cuda<Emulator>| {
        let mut notes = Notes::default();
        let model = run_search(&cuda, &search_plan(3), rows, Vec::new(), &mut notes).unwrap();
        (
            cuda.driver().counts().queues,
            bits(&model),
            ordered(&notes.records),
        )
    };
    let cuda = || Cuda::new(Emulator::new(), Precision::Fp32);
    let (on_device, fed) = (trained(cuda()), trained(cuda().feeding_rows()));
    assert_eq!((on_device.0, fed.0), (2, 0));
    assert_eq!((on_device.1, on_device.2), (fed.1, fed.2));
}

/// Rows that fill more than 80 % of the memory stay on the host, and the rest of the training has to fit: long rows, short
/// mini-batches.
#[test]
fn rows_on_the_host_give_the_bits_of_rows_on_the_device() {
    let (count, d) = match MODE {
        Mode::Plain => (1000, 40),
        Mode::Sanitize | Mode::Race => (300, 100),
    };
    let rows = rows(count, d);
    let memory = (rows.len() * size_of::<f32>()) as u64 * 5 / 4 - 1;
    for (batch, batches) in [(count / 15, 15), (count / 14, 14)] {
        assert_eq!(
            count / batch,
            batches,
            "an odd and an even number of mini-batches"
        );
        let plan = Plan { batch, ..plan(None) };
        let cuda = |emulator| Cuda::new(emulator, Precision::Fp32);
        let small = || cuda(Emulator::new().with_memory(memory));
        assert!(resident(&small(), &rows, d).host().is_some());
        let roomy = cuda(Emulator::new());
        assert!(resident(&roomy, &rows, d).host().is_none());

        let mut on_device = Notes::default();
        let model = run(&roomy, &plan, &rows, d, &mut on_device).unwrap();
        let mut on_host = Notes::default();
        let other = run(&small(), &plan, &rows, d, &mut on_host).unwrap();
        assert_eq!(bits(&model), bits(&other), "{batches} mini-batches");
        assert_eq!(told(&on_device.records), told(&on_host.records));
        // Resumed where the next mini-batch has an odd number, and an even one; with the rows elsewhere than before.
        let resumptions = [
            (small(), small(), batches + 3),
            (small(), small(), 2 * batches + 4),
            (small(), roomy, 7),
        ];
        for (from, to, steps) in cases(&resumptions, 1) {
            let (resumed, records) = interrupted([from, to], &plan, &rows, d, *steps);
            assert_eq!(
                bits(&model),
                bits(&resumed),
                "{batches} mini-batches, {steps} steps"
            );
            assert_eq!(told(&on_device.records), records);
        }
    }
}

/// The same with epochs so short that a place on the device gets the same mini-batch again, in the next epoch's order. Such a
/// training fits only when another process, here `other`, gave memory back in the meantime.
#[test]
fn rows_on_the_host_are_shuffled_anew_in_epochs_of_one_and_two_mini_batches() {
    let (count, d) = (128, 20);
    let rows = rows(count, d);
    for batches in [1, 2] {
        let plan = Plan {
            batch: count / batches,
            ..plan(None)
        };
        let cuda = Cuda::new(Emulator::new().with_memory(16 * MIB), Precision::Fp32);
        let trained = |data| {
            let mut notes = Notes::default();
            let model = train_on(&cuda, &plan, &data, None, &mut notes).unwrap();
            (bits(&model), told(&notes.records))
        };
        let driver = cuda.driver();
        let other = driver.allocate(16 * MIB as usize - rows.len()).unwrap().unwrap();
        let data = resident(&cuda, &rows, d);
        assert!(data.host().is_some());
        driver.free(other);
        let from_host = trained(data);
        assert_eq!(
            trained(resident(&cuda, &rows, d)),
            from_host,
            "{batches} mini-batches"
        );
    }
}

/// The numbers in a text, in order.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn too_little_memory_is_told_to_the_mebibyte_before_the_first_step() {
    let (rows, d) = (rows(4096, 20), 20);
    let plan = Plan {
        batch: 4096,
        ..plan(None)
    };
    // A training that stops before its first step: all of its memory, none of its work.
    let begin = |memory| {
        let cuda = Cuda::new(Emulator::new().with_memory(memory), Precision::Tf32x3);
        let mut notes = Notes {
            steps_allowed: Some(0),
            ..Notes::default()
        };
        let told = run(&cuda, &plan, &rows, d, &mut notes).unwrap_err();
        assert_eq!(
            cuda.driver().free_memory().unwrap(),
            memory,
            "nothing is left allocated"
        );
        told
    };
    let memory = 8 * MIB;
    let line = begin(memory).to_string();
    assert!(line.starts_with("the emulator: training needs "), "{line}");
    assert!(
        line.contains("choose smaller mini-batches (--batch)") && !line.contains('\n'),
        "{line}"
    );
    let [needed, missing, free] = numbers(&line)[..] else {
        panic!("{line}");
    };
    // The training rows are there already.
    assert_eq!(free, 7, "{line}");
    assert!((needed - free).abs_diff(missing) <= 1 && missing > 1, "{line}");

    let almost = begin(memory + (missing - 1) * MIB);
    assert!(
        matches!(almost, Error::Device { .. }),
        "a MiB less than was missing: {almost}"
    );
    let enough = begin(memory + missing * MIB);
    assert!(
        matches!(enough, Error::Interrupted(_)),
        "what was missing: {enough}"
    );
}

#[test]
fn a_step_on_digits_takes_few_launches() {
    let shape = match MODE {
        Mode::Plain => StepShape::mnist(),
        // The same launches with less in them.
        Mode::Sanitize | Mode::Race => StepShape {
            hidden: vec![16, 16],
            dims: 40,
            ..StepShape::mnist()
        },
    };
    let rows = rows(shape.rows, shape.dims);
    let state = StepState {
        seed: 0,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 1e-3,
    };
    let model = Model::random(0, shape.dims, &shape.hidden, shape.clusters);
    let cuda = Cuda::new(Emulator::new(), Precision::Bf16);
    let data = resident(&cuda, &rows, shape.dims);
    let size = StepSize {
        rows: shape.rows,
        batches: 1,
        training_rows: shape.rows,
    };
    let mut step = Step::new(&cuda, &model, plan(None).rule, size, None, state).unwrap();
    let profile = cuda.profile(&mut || step.run(&cuda, &data, None)).unwrap();
    let kernels: Vec<&str> = profile.iter().map(|(kernel, _)| kernel.as_str()).collect();
    println!("{} launches: {}", kernels.len(), kernels.join(", "));
    assert!(
        kernels.len() <= MOST_LAUNCHES,
        "{} launches: {kernels:?}",
        kernels.len()
    );
}

/// Compares the calls before and after each step.
struct Calls<'a> {
    emulator: &'a Emulator,
    before: Cell<Counts>,
    /// What each step added.
    steps: Vec<Counts>,
}

impl Watch for Calls<'_> {
    fn stage(&mut self, _: &Plan, _: Stage) {}
    fn stop(&mut self) -> bool {
        self.before.set(self.emulator.counts());
        false
    }
    fn step(&mut self, _: usize, _: usize, _: usize, _: usize) {
        let (before, after) = (self.before.get(), self.emulator.counts());
        self.steps.push(Counts {
            queues: after.queues - before.queues,
            launches: after.launches - before.launches,
            replays: after.replays - before.replays,
            replayed_launches: after.replayed_launches - before.replayed_launches,
            others: after.others - before.others,
        });
    }
    fn epoch(&mut self, _: &EpochRecord) -> Result<()> {
        Ok(())
    }
    fn wants_checkpoint(&mut self, _: usize) -> bool {
        false
    }
    fn checkpoint(&mut self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }
}

#[test]
fn from_the_second_step_on_each_is_one_recorded_graph_and_nothing_else() {
    let (count, d) = (300, 100);
    let rows = rows(count, d);
    let bytes = (rows.len() * size_of::<f32>()) as u64;
    for neighbors in [None, Some(5)] {
        for memory in [16 * MIB, bytes * 5 / 4 - 1] {
            let plan = Plan {
                batch: 20,
                epochs: 2,
                ..plan(neighbors)
            };
            let cuda = Cuda::new(Emulator::new().with_memory(memory), Precision::Fp32);
            let mut calls = Calls {
                emulator: cuda.driver(),
                before: Cell::default(),
                steps: Vec::new(),
            };
            run(&cuda, &plan, &rows, d, &mut calls).unwrap();
            let [first, later @ ..] = &calls.steps[..] else {
                panic!("no step");
            };
            assert_eq!(first.replays, 0, "the first step may have to allocate");
            assert_eq!(later.len(), 2 * 15 - 1);
            let graph = Counts {
                replays: 1,
                replayed_launches: first.launches,
                ..Counts::default()
            };
            for (i, &step) in later.iter().enumerate() {
                assert_eq!(
                    step,
                    graph,
                    "step {}, {neighbors:?} neighbours, {memory} bytes",
                    i + 2
                );
            }
        }
    }
}

/// How far the logits of `rows` may be from exact ones in single precision, row by row: |W| E + gamma (|W| |x| + |b|) from
/// layer to layer, gamma being the roundings of a sum of so many products, a bias, and (on a GPU) a fused multiply-add.
fn logit_errors(model: &Model, rows: &[f32]) -> Vec<f64> {
    let unit = f64::from(f32::EPSILON) / 2.0;
    let of_row = |row: &[f32]| {
        let mut x: Vec<f64> = row.iter().map(|&v| v.into()).collect();
        let mut errors = vec![0.0; x.len()];
        for (at, layer) in model.layers.iter().enumerate() {
            let roundings = (layer.inputs + 2) as f64 * unit;
            let outputs = layer.weight.chunks_exact(layer.inputs).zip(&layer.bias);
            (x, errors) = outputs
                .map(|(weights, &bias)| {
                    let (mut sum, mut size, mut error) = (f64::from(bias), f64::from(bias).abs(), 0.0);
                    for ((&w, x), e) in weights.iter().zip(&x).zip(&errors) {
                        let w = f64::from(w);
                        sum += w * x;
                        size += (w * x).abs();
                        error += w.abs() * e;
                    }
                    let relu = at + 1 < model.layers.len();
                    (
                        if relu { sum.max(0.0) } else { sum },
                        error + roundings * (size + error),
                    )
                })
                .unzip();
        }
        errors.into_iter().fold(0.0, f64::max)
    };
    rows.chunks_exact(model.inputs()).map(of_row).collect()
}

#[test]
fn a_model_trained_here_labels_as_it_does_on_the_cpu() {
    let d = 20;
    let rows = rows(512, d);
    let cuda = Cuda::new(Emulator::new(), Precision::Fp32);
    let model = run(&cuda, &plan(None), &rows, d, &mut Notes::<f32>::default()).unwrap();

    // No transforms: the rows go to the network as they are.
    let cpu = Fast::new(1).unwrap();
    let pipeline = Pipeline::new(Reader::plain(d));
    let mut found = [vec![0; 512], vec![0; 512], vec![0; 512]];
    let [here, there, exact] = &mut found;
    Predictor::new(&cuda, &model, &pipeline)
        .unwrap()
        .label(&rows, here, None)
        .unwrap();
    Predictor::new(&cpu, &model, &pipeline)
        .unwrap()
        .label(&rows, there, None)
        .unwrap();
    let mut memberships = Vec::new();
    Predictor::new(&Reference::<f64>::new(), &model, &pipeline)
        .unwrap()
        .label(&rows, exact, Some(&mut memberships))
        .unwrap();

    let mut clear = 0;
    for (i, error) in logit_errors(&model, &rows).into_iter().enumerate() {
        let mut memberships = memberships[4 * i..][..4].to_vec();
        memberships.sort_by(f32::total_cmp);
        // The logarithm of a ratio of memberships, which are f32 here, is a difference of logits.
        let margin = f64::from(memberships[3]).ln() - f64::from(memberships[2]).ln();
        if margin > 2.0 * error + 4.0 * f64::from(f32::EPSILON) {
            assert_eq!((here[i], there[i]), (exact[i], exact[i]), "row {i}");
            clear += 1;
        }
    }
    println!("{clear} of 512 rows are clear");
    assert!(clear > 256, "{clear} of 512 rows are clear");
    assert!(
        (0..4).all(|cluster| here.contains(&cluster)),
        "the labels tell clusters apart"
    );
}
