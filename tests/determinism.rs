//! Training gives the same bits whatever the number of threads and however often it is interrupted, tells the same
//! losses as the reference, and never hands on a model that is no number.

mod common;
#[path = "common/training.rs"]
mod training;

use common::{filled, random};
use neuncut::cpu::{Fast, Reference};
use neuncut::data::csr::Csr;
use neuncut::error::{Error, Result};
use neuncut::features::{Pipeline, Reader};
use neuncut::graph::{GraphRule, Width, build, ranking};
use neuncut::model::Model;
use neuncut::ops::{
    AdamRule, AffinityRule, Cut, GraphForm, HeatKernel, Objective, Ops, Penalty, Precision, Volumes,
};
use neuncut::predict::Predictor;
use neuncut::progress::Silent;
use neuncut::spectral::Labelling;
use neuncut::spectral::cluster;
use neuncut::train::{
    Beginning, Checkpoint, Goal, Kind, Plan, SearchPlan, Stage, StepRule, Targets, TrainingGraph,
    TrainingRows, WarmUp, search, train, winner,
};
use neuncut::validate::compare_training;
use training::{Notes, bits, rows, told};

fn plan(neighbors: Option<usize>, seed: u64) -> Plan {
    Plan {
        goal: Goal::Cut,
        clusters: 3,
        ranked: false,
        hidden: vec![17, 9],
        batch: 61,
        per_seed: 0,
        first_epoch: 0,
        epochs: 4,
        learning_rate: 0.01,
        seed,
        rule: StepRule {
            affinity: AffinityRule::Heat(HeatKernel {
                sigma: 2.0,
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

fn run<O: Ops>(ops: &O, plan: &Plan, rows: &[f32], d: usize, notes: &mut Notes<O::Real>) -> Result<Model> {
    resume(ops, plan, rows, d, None, notes)
}

fn resume<O: Ops>(
    ops: &O,
    plan: &Plan,
    rows: &[f32],
    d: usize,
    from: Option<Checkpoint<O::Real>>,
    notes: &mut Notes<O::Real>,
) -> Result<Model> {
    let data = filled(ops, rows.len() / d, d, rows);
    let rows = TrainingRows {
        x: &data,
        graph: None,
        truth: None,
    };
    let beginning = Beginning::of(plan.random_model(d));
    let trained = train(ops, plan, &rows, Stage::default(), beginning, from, notes)?;
    Ok(trained.model)
}

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    let random = random("threads");
    // Rows taken by differences and by products; several row blocks.
    for (d, neighbors) in [(5, None), (5, Some(4)), (40, None), (40, Some(4))] {
        let rows = rows(&random, 700, d, 3);
        let plan = Plan {
            batch: 300,
            ..plan(neighbors, random.below(1000) as u64)
        };
        let mut first = Notes::default();
        let model = run(&Fast::new(1).unwrap(), &plan, &rows, d, &mut first).unwrap();
        assert!(model.is_finite());
        for threads in [1, 2, 3, 7] {
            let mut again = Notes::default();
            let other = run(&Fast::new(threads).unwrap(), &plan, &rows, d, &mut again).unwrap();
            assert_eq!(
                bits(&model),
                bits(&other),
                "{threads} threads, d {d}, {neighbors:?} neighbours"
            );
            assert_eq!(told(&first.records), told(&again.records));
        }
        let other = Plan {
            seed: plan.seed + 1,
            ..plan
        };
        let other = run(&Fast::new(1).unwrap(), &other, &rows, d, &mut Notes::default()).unwrap();
        assert_ne!(bits(&model), bits(&other), "another seed");
    }
}

#[test]
fn training_resumed_from_any_step_gives_the_bits_of_an_uninterrupted_one() {
    resumed_from_any_step(&Fast::new(2).unwrap());
    resumed_from_any_step(&Reference::<f64>::new());
}

fn resumed_from_any_step<O: Ops>(ops: &O)
where
    O::Real: Default,
{
    let random = random("resumed");
    let d = 5;
    let rows = rows(&random, 200, d, 3);
    let folder = tempfile::tempdir().unwrap();
    for neighbors in [None, Some(4)] {
        let plan = plan(neighbors, random.below(1000) as u64);
        let batches = 200 / plan.batch;
        let mut whole = Notes {
            every_epoch: true,
            ..Notes::default()
        };
        let model = run(ops, &plan, &rows, d, &mut whole).unwrap();
        assert_eq!(
            whole.checkpoints.len(),
            plan.epochs - 1,
            "none is needed after the last epoch"
        );

        for steps in 0..batches * plan.epochs {
            let mut before = Notes {
                steps_allowed: Some(steps),
                ..Notes::default()
            };
            let stopped = run(ops, &plan, &rows, d, &mut before);
            assert!(
                matches!(stopped, Err(Error::Interrupted(_))),
                "stopped after {steps} steps: {stopped:?}"
            );
            let [checkpoint] = &before.checkpoints[..] else {
                panic!("{} checkpoints after {steps} steps", before.checkpoints.len());
            };
            assert_eq!(
                (checkpoint.epoch, checkpoint.batch),
                (steps / batches, steps % batches)
            );
            assert_eq!(checkpoint.step, steps as u64);
            if checkpoint.batch == 0 && steps > 0 {
                let regular = &whole.checkpoints[checkpoint.epoch - 1];
                assert_eq!(checkpoint.first_moments, regular.first_moments);
                assert_eq!(checkpoint.second_moments, regular.second_moments);
                assert_eq!(bits(&checkpoint.model), bits(&regular.model));
            }

            let path = folder.path().join("checkpoint.safetensors");
            checkpoint.save(&path).unwrap();
            let loaded = Checkpoint::load(&path).unwrap();
            assert_eq!(&loaded, checkpoint, "what was saved is what is loaded");
            let mut after = Notes::default();
            let resumed = resume(ops, &plan, &rows, d, Some(loaded), &mut after).unwrap();
            assert_eq!(bits(&model), bits(&resumed), "resumed after {steps} steps");
            let records = [told(&before.records), told(&after.records)].concat();
            assert_eq!(records, told(&whole.records), "resumed after {steps} steps");
        }
    }
}

/// Two attempts, each in all stages that there are: 5 clusters fitted to labels and trained, merged to 3, and moved once.
fn search_plan(form: GraphForm, seed: u64) -> SearchPlan {
    let plan = plan(None, seed);
    SearchPlan {
        cut: Plan {
            ranked: true,
            batch: 40,
            per_seed: 3,
            epochs: 2,
            rule: StepRule {
                affinity: AffinityRule::Graph(form),
                ..plan.rule
            },
            ..plan
        },
        warm_up: WarmUp {
            epochs: 3,
            batch: 31,
            learning_rate: 0.01,
        },
        begin_with: Some(5),
        moves: 1,
        attempts: 2,
        side_by_side: 2,
    }
}

/// The neighbour graph of rows, as every part of this is made on `ops`.
fn neighbour_graph<O: Ops>(ops: &O, x: &O::Matrix) -> Csr {
    let rule = GraphRule {
        neighbors: 6,
        width: Width::SelfTuning,
        one_sided: 0.1,
    };
    build(ops, x, rule, &mut Silent).unwrap()
}

/// A search from spectral starts, as `fit` makes one.
fn run_search<O: Ops>(
    ops: &O,
    plan: &SearchPlan,
    rows: &[f32],
    d: usize,
    from: Vec<Checkpoint<O::Real>>,
    notes: &mut Notes<O::Real>,
) -> Result<Model> {
    let x = filled(ops, rows.len() / d, d, rows);
    let edges = neighbour_graph(ops, &x);
    let resident = ops.graph("the graph of the training rows", &edges)?;
    let rows = TrainingRows {
        x: &x,
        graph: Some(TrainingGraph {
            edges: &edges,
            resident: &resident,
        }),
        truth: None,
    };
    let cut = plan.cut.rule.objective.cut;
    let mut starts = |attempt: usize, clusters: usize| {
        let seed = plan.cut.seed + ((attempt as u64) << 32);
        let labels = cluster(ops, &edges, clusters, cut, seed, &mut Silent)?;
        let found = vec![Labelling { labels, usual: true }];
        Targets::refined(&edges, found, clusters, cut, seed, &Silent)
    };
    search(ops, plan, &rows, &mut starts, from, notes)
}

#[test]
fn a_search_gives_the_same_bits_on_any_number_of_threads() {
    let random = random("search_threads");
    let d = 5;
    for form in [GraphForm::Sparse, GraphForm::Dense] {
        // So many rows that eigenvectors are iterated for.
        let rows = rows(&random, 800, d, 3);
        let plan = search_plan(form, random.below(1000) as u64);
        let mut first = Notes::default();
        let model = run_search(&Fast::new(1).unwrap(), &plan, &rows, d, Vec::new(), &mut first).unwrap();
        assert!(model.is_finite());
        for threads in [1, 2, 3] {
            let mut again = Notes::default();
            let other = run_search(
                &Fast::new(threads).unwrap(),
                &plan,
                &rows,
                d,
                Vec::new(),
                &mut again,
            )
            .unwrap();
            assert_eq!(bits(&model), bits(&other), "{threads} threads, {form:?}");
            assert_eq!(told(&first.records), told(&again.records));
        }
    }
}

#[test]
fn a_search_resumed_in_any_stage_gives_the_bits_of_an_uninterrupted_one() {
    let random = random("search_resumed");
    let (d, ops) = (5, Fast::new(2).unwrap());
    let rows = rows(&random, 120, d, 3);
    let plan = search_plan(GraphForm::Sparse, random.below(1000) as u64);
    let mut whole = Notes {
        steps_allowed: Some(usize::MAX),
        ..Notes::default()
    };
    let model = run_search(&ops, &plan, &rows, d, Vec::new(), &mut whole).unwrap();
    let seen = |kind, attempt| {
        let stage = whole
            .stages
            .iter()
            .find(|stage| (stage.kind, stage.attempt) == (kind, attempt));
        stage.is_some()
    };
    for kind in [Kind::ManyTargets, Kind::ManyCut, Kind::Targets, Kind::Cut] {
        assert!(seen(kind, 0) && seen(kind, 1), "{kind:?} in {:?}", whole.stages);
    }
    for attempt in [1, 2] {
        let of_it = whole.records.iter().filter(|record| record.attempt == attempt);
        for (i, record) in of_it.enumerate() {
            assert_eq!(record.epoch, i + 1, "epochs are counted through all stages");
        }
    }

    let total = usize::MAX - whole.steps_allowed.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut stages, mut between) = (Vec::new(), 0);
    for steps in 0..total {
        let mut before = Notes {
            steps_allowed: Some(steps),
            ..Notes::default()
        };
        let stopped = run_search(&ops, &plan, &rows, d, Vec::new(), &mut before);
        assert!(matches!(stopped, Err(Error::Interrupted(_))), "{stopped:?}");
        let loaded = before.reloaded(folder.path());
        let stage = loaded.last().unwrap().stage;
        let finished: Vec<bool> = loaded.iter().map(|checkpoint| checkpoint.finished).collect();
        let expected: Vec<bool> = (0..=stage.attempt)
            .map(|attempt| attempt < stage.attempt)
            .collect();
        assert_eq!(
            finished, expected,
            "of attempts one after the other, all are over but one"
        );
        stages.push(stage);
        between += usize::from(loaded.last().unwrap().ended.is_some());
        let mut after = Notes::default();
        let resumed = run_search(&ops, &plan, &rows, d, loaded, &mut after).unwrap();
        let name = format!("stopped after {steps} of {total} steps in {stage:?}");
        assert_eq!(bits(&model), bits(&resumed), "{name}");
        let records = [told(&before.records), told(&after.records)].concat();
        assert_eq!(records, told(&whole.records), "{name}");
    }
    // After the stage of many clusters and before moves, of each attempt; the very last may be the end.
    assert!(between >= 3, "{between} stops between two stages");
    let differs = |of: &dyn Fn(&Stage, &Stage) -> bool| stages.iter().any(|stage| of(stage, &stages[0]));
    assert!(
        differs(&|a, b| a.kind != b.kind),
        "stops in stages of one kind only"
    );
    assert!(
        differs(&|a, b| a.attempt != b.attempt),
        "stops in one attempt only"
    );
}

/// An attempt among several comes to what it would come to alone.
#[test]
fn an_attempt_is_a_search_of_its_own() {
    let random = random("search_alone");
    let (d, ops) = (5, Fast::new(2).unwrap());
    let rows = rows(&random, 120, d, 3);
    let plan = search_plan(GraphForm::Sparse, random.below(1000) as u64);
    let mut both = Notes::default();
    let model = run_search(&ops, &plan, &rows, d, Vec::new(), &mut both).unwrap();
    let winner = winner(&both.records).unwrap();
    for attempt in [1, 2] {
        let mut alone = plan.clone();
        alone.attempts = 1;
        alone.cut.seed += (attempt as u64 - 1) << 32;
        let mut notes = Notes::default();
        let found = run_search(&ops, &alone, &rows, d, Vec::new(), &mut notes).unwrap();
        for record in &mut notes.records {
            record.attempt = attempt;
        }
        let of_both = both.records.iter().filter(|record| record.attempt == attempt);
        let of_both: Vec<_> = of_both.cloned().collect();
        assert_eq!(told(&notes.records), told(&of_both), "attempt {attempt}");
        assert_eq!(
            bits(&found) == bits(&model),
            attempt == winner,
            "attempt {attempt}"
        );
    }
}

/// Whatever the last network, and whichever attempt, none that was trained towards a small cut reached a smaller one than the one that is returned.
#[test]
fn the_best_network_by_the_exact_cut_is_returned() {
    let random = random("search_best");
    let (d, ops) = (5, Fast::new(2).unwrap());
    let rows = rows(&random, 200, d, 3);
    let plan = SearchPlan {
        attempts: 3,
        ..search_plan(GraphForm::Sparse, random.below(1000) as u64)
    };
    let mut notes = Notes::default();
    let model = run_search(&ops, &plan, &rows, d, Vec::new(), &mut notes).unwrap();
    let x = filled(&ops, 200, d, &rows);
    let edges = neighbour_graph(&ops, &x);
    let pipeline = Pipeline::new(Reader::plain(d));
    let mut labels = vec![0; 200];
    Predictor::new(&ops, &model, &pipeline)
        .unwrap()
        .label(&rows, &mut labels, None)
        .unwrap();
    let found = ranking(&edges, &labels, 3, Cut::Ncut);
    // Networks of five clusters are not among those.
    let of_three = || notes.records.iter().filter(|record| record.sizes.len() == 3);
    let winner = winner(&notes.records).unwrap();
    let mut kept = of_three().filter(|record| record.attempt == winner && record.kept);
    assert_eq!(kept.next_back().unwrap().cut, Some(found));
    let trained = of_three().filter(|record| record.agreement.is_none());
    let least = trained
        .filter_map(|record| record.cut)
        .fold(f64::INFINITY, f64::min);
    assert!(found <= least, "{found}, and {least} on the way");
}

/// Every second logit is so near the one before that the last bits decide: still neither threads nor memberships change a label.
#[test]
fn labels_are_the_same_on_any_number_of_threads_with_memberships_or_without() {
    let random = random("labels");
    let (d, k, hidden, m) = (20, 6, 33, 1021);
    let mut model = Model::random(random.below(1000) as u64, d, &[65, hidden], k);
    for pair in model.layers[2].weight.chunks_exact_mut(2 * hidden) {
        let (first, second) = pair.split_at_mut(hidden);
        for (second, &first) in second.iter_mut().zip(&*first) {
            *second = [first.next_down(), first, first.next_up()][random.below(3)];
        }
    }
    let rows = random.normals(m * d, 1.0);
    let mut found = Vec::new();
    for threads in [1, 2, 3, 7] {
        let ops = Fast::new(threads).unwrap();
        let mut predictor = Predictor::new(&ops, &model, &Pipeline::new(Reader::plain(d))).unwrap();
        for with_memberships in [false, true] {
            let (mut labels, mut memberships) = (vec![0; m], Vec::new());
            predictor
                .label(&rows, &mut labels, with_memberships.then_some(&mut memberships))
                .unwrap();
            found.push(labels);
        }
    }
    assert!(found.iter().all(|labels| *labels == found[0]));
    assert!((0..k as u32).filter(|label| found[0].contains(label)).count() > 2);
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let random = random("refused");
    let (d, ops) = (5, Fast::new(2).unwrap());
    let rows = rows(&random, 200, d, 3);
    let plan = plan(None, 1);
    let mut notes = Notes {
        steps_allowed: Some(4),
        ..Notes::default()
    };
    assert!(run(&ops, &plan, &rows, d, &mut notes).is_err());
    let checkpoint = notes.checkpoints.pop().unwrap();
    let others = [
        (
            "clusters",
            Plan {
                clusters: 4,
                ..plan.clone()
            },
            checkpoint.clone(),
        ),
        (
            "hidden layers",
            Plan {
                hidden: vec![17],
                ..plan.clone()
            },
            checkpoint.clone(),
        ),
        (
            "batches an epoch",
            Plan {
                batch: 40,
                ..plan.clone()
            },
            checkpoint.clone(),
        ),
        (
            "steps",
            plan.clone(),
            Checkpoint {
                step: 5,
                ..checkpoint.clone()
            },
        ),
        (
            "epochs",
            plan.clone(),
            Checkpoint {
                epoch: usize::MAX,
                ..checkpoint.clone()
            },
        ),
        (
            "batch",
            plan.clone(),
            Checkpoint {
                batch: 9,
                ..checkpoint.clone()
            },
        ),
        (
            "losses",
            plan.clone(),
            Checkpoint {
                losses: vec![],
                ..checkpoint.clone()
            },
        ),
    ];
    for (what, plan, checkpoint) in others {
        let result = resume(&ops, &plan, &rows, d, Some(checkpoint), &mut Notes::default());
        assert!(
            matches!(result, Err(Error::Shape { .. })),
            "other {what}: {result:?}"
        );
    }
    // One number changed by one bit, two rows in each other's place, a row less.
    let mut changed = rows.clone();
    let at = random.below(rows.len());
    changed[at] = f32::from_bits(rows[at].to_bits() ^ 1);
    let mut swapped = rows.clone();
    swapped.rotate_left(d);
    for other in [&changed, &swapped, &rows[d..].to_vec()] {
        let result = resume(
            &ops,
            &plan,
            other,
            d,
            Some(checkpoint.clone()),
            &mut Notes::default(),
        );
        let message = result.unwrap_err().to_string();
        assert!(message.contains("the training rows have changed"), "{message}");
        assert!(message.contains("200 x 5 with checksum"), "{message}");
    }
}

#[test]
fn a_damaged_checkpoint_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let good: Checkpoint = Checkpoint::fresh("rows".into(), Model::random(1, 3, &[4], 2), None);
    good.save(&path).unwrap();
    assert_eq!(Checkpoint::load(&path).unwrap(), good);

    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(Checkpoint::<f32>::load(&path).is_err(), "truncated");

    let mut spoilt = good.clone();
    spoilt.second_moments.layers[1].bias[0] = f32::NAN;
    spoilt.save(&path).unwrap();
    let message = Checkpoint::<f32>::load(&path).unwrap_err().to_string();
    assert!(message.contains("not finite"), "{message}");

    // A file of tensors, but without the counters.
    let parts = [
        ("", &good.model),
        ("m.", &good.first_moments),
        ("v.", &good.second_moments),
    ];
    let tensors: Vec<_> = parts
        .iter()
        .flat_map(|(prefix, model)| model.tensors(prefix))
        .collect();
    let tensors: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(n, s, v)| (&n[..], &s[..], *v)).collect();
    neuncut::data::safetensors::write(&path, &tensors, &Default::default()).unwrap();
    let message = Checkpoint::<f32>::load(&path).unwrap_err().to_string();
    assert!(
        message.contains("its metadata lacks") && !message.contains('\n'),
        "{message}"
    );
}

/// Losses per epoch against the f64 reference, over several seeds: the root mean square error of the fast backend is at most
/// twice that of the reference in f32. (Of a single run the ratio is luck: training amplifies every rounding.)
#[test]
fn losses_of_every_epoch_are_those_of_the_reference() {
    let random = random("losses");
    let (d, seeds) = (5, 8);
    for neighbors in [None, Some(4)] {
        let problems: Vec<_> = (0..seeds)
            .map(|_| {
                let rows = rows(&random, 200, d, 3);
                (plan(neighbors, random.below(1 << 30) as u64), rows)
            })
            .collect();
        let fast = Fast::new(2).unwrap();
        let found = compare_training(&fast, Precision::Fp32, &problems, d).unwrap();
        println!("{neighbors:?} neighbours: {found:?}");
        assert!(found.passed(), "{neighbors:?} neighbours: {found:?}");
    }
}

#[test]
fn a_training_that_diverges_says_so() {
    let random = random("diverges");
    let (d, ops) = (5, Fast::new(2).unwrap());
    let good = rows(&random, 200, d, 3);
    let huge: Vec<f32> = good.iter().map(|v| v * 1e25).collect();
    for epochs in [1, 3] {
        for learning_rate in [1.0, 1e6, 1e18, 1e30, 1e38, 1e39, 1e300] {
            for (rows, batch) in [(&good, 61), (&good, 200), (&huge, 61)] {
                let plan = Plan {
                    epochs,
                    learning_rate,
                    batch,
                    ..plan(None, 3)
                };
                let mut notes = Notes {
                    every_epoch: true,
                    ..Notes::default()
                };
                let name = format!("{epochs} epochs, lr {learning_rate}, batch {batch}");
                match run(&ops, &plan, rows, d, &mut notes) {
                    Ok(model) => assert!(model.is_finite(), "{name}: a model that is no number"),
                    Err(Error::Diverged { epoch, batch, .. }) => {
                        assert!(
                            (1..=epochs).contains(&epoch) && (1..=3).contains(&batch),
                            "{name}: {epoch}, {batch}"
                        );
                    }
                    Err(other) => panic!("{name}: {other}"),
                }
                for checkpoint in &notes.checkpoints {
                    assert!(
                        checkpoint.model.is_finite() && checkpoint.second_moments.is_finite(),
                        "{name}"
                    );
                }
            }
        }
    }
    // A single update beyond f32: its loss was finite, its parameters are not.
    let plan = Plan {
        epochs: 1,
        learning_rate: 1e39,
        batch: 200,
        ..plan(None, 3)
    };
    let result = run(&ops, &plan, &good, d, &mut Notes::default());
    assert!(
        matches!(
            result,
            Err(Error::Diverged {
                epoch: 1,
                batch: 1,
                ..
            })
        ),
        "{result:?}"
    );
    // Distances beyond f32: by differences all rows are infinitely far apart, by products there is no graph.
    let huge: Vec<f32> = self::rows(&random, 200, 40, 3).iter().map(|v| v * 1e25).collect();
    let result = run(&ops, &self::plan(None, 3), &huge, 40, &mut Notes::default());
    assert!(
        matches!(
            result,
            Err(Error::Diverged {
                epoch: 1,
                batch: 1,
                ..
            })
        ),
        "{result:?}"
    );
}
