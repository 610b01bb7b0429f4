use neuncut::cpu::Fast;
use neuncut::ops::*;
use neuncut::train::*;
use neuncut::*;
struct W(bool);
impl Watch for W {
    fn step(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, r: &EpochRecord) -> Result<()> {
        if self.0 {
            eprintln!(
                "{} lap {:.4} orth {:.4} {:?} {:.1}s {:?}",
                r.epoch,
                r.l_lap,
                r.l_orth,
                r.scores.map(|s| (s.acc, s.nmi, s.ari)),
                r.seconds,
                r.sizes
            );
        }
        Ok(())
    }
    fn wants_checkpoint(&mut self) -> bool {
        false
    }
    fn checkpoint(&mut self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }
    fn stop(&mut self) -> bool {
        false
    }
}
fn main() -> Result<()> {
    let a: std::collections::HashMap<String, String> = std::env::args()
        .skip(1)
        .map(|s| {
            let (k, v) = s.split_once('=').unwrap();
            (k.to_string(), v.to_string())
        })
        .collect();
    let get = |k: &str, d: &str| a.get(k).cloned().unwrap_or(d.to_string());
    let num = |k: &str, d: f64| a.get(k).map(|v| v.parse::<f64>().unwrap()).unwrap_or(d);
    let seed = num("seed", 0.0) as u64;
    let src = get("data", "mnist-t10k");
    let (values, d, truth, classes, n);
    if let Ok(g) = data::synthetic::Generator::parse(&src) {
        n = num("rows", 10000.0) as usize;
        d = g.dims();
        classes = g.classes();
        let mut v = vec![0f32; n * d];
        let mut l = vec![0u32; n];
        g.fill(seed, 0, &mut v, &mut l);
        values = v;
        truth = l;
    } else {
        let ds = data::Dataset::open(&src)?;
        d = ds.cols();
        let total = ds.rows();
        n = (num("rows", 10000.0) as usize).min(total);
        let p = random::Permutation::new(seed, random::Purpose::TrainRows, 0, total as u64);
        let idx: Vec<u64> = (0..n as u64).map(|i| p.at(i)).collect();
        let mut v = vec![0f32; n * d];
        ds.gather_rows(&idx, &mut v)?;
        values = v;
        let l = ds.labels().unwrap();
        truth = idx.iter().map(|&i| l.index[i as usize]).collect::<Vec<_>>();
        classes = l.classes.len();
    }
    let k = num("k", classes as f64) as usize;
    let ops = Fast::new(2)?;
    let mut x = ops.matrix("x", n, d)?;
    ops.upload(&values, &mut x, 0)?;
    features::Pipeline::fit(
        &ops,
        &features::parse(&get("features", "pixels,center,unit"))?,
        &mut x,
    )?;
    let batch = num("batch", 1000.0) as usize;
    let neighbors = a.get("nb").map(|v| v.parse().unwrap());
    let auto = estimate::sigma(&x, d, batch, seed).unwrap();
    let sigma = num("sigma", auto * num("sf", 1.0));
    let penalty = if get("penalty", "squared") == "squared" {
        Penalty::Squared
    } else {
        Penalty::Frobenius
    };
    let kernel = HeatKernel { sigma, neighbors };
    let hidden: Vec<usize> = get("hidden", "512,512")
        .split(',')
        .map(|v| v.parse().unwrap())
        .collect();
    let mut objective = Objective {
        gamma: 1.0,
        penalty,
        volumes: if get("volumes", "through") == "through" {
            Volumes::Through
        } else {
            Volumes::Fixed
        },
        cut: Cut::Ncut,
    };
    let model = model::Model::random(seed, d, &hidden, k);
    let t = std::time::Instant::now();
    let sp = estimate::smooth_spectrum(&ops, &x, &model, kernel, objective, batch, seed)?;
    eprintln!(
        "sigma {sigma:.4} (auto {auto:.4}) spectrum {:.1}s {:.4?} auto gamma {:.3}",
        t.elapsed().as_secs_f64(),
        sp.eigenvalues,
        sp.gamma(k, penalty)
    );
    objective.gamma = num("gamma", sp.gamma(k, penalty));
    let plan = Plan {
        clusters: k,
        hidden,
        batch,
        epochs: num("epochs", 30.0) as usize,
        learning_rate: num("lr", 1e-3),
        seed,
        rule: StepRule {
            kernel,
            objective,
            adam: AdamRule::new(num("wd", 1e-4)),
        },
    };
    let t = std::time::Instant::now();
    let model = train(
        &ops,
        &plan,
        &x,
        Some(Truth {
            index: &truth,
            classes,
        }),
        None,
        &mut W(a.contains_key("v")),
    )?;
    let net = network::Network::new(&ops, &model)?;
    let mut act = net.activations(&ops, n)?;
    net.forward(&ops, &x, &mut act)?;
    let mut l = vec![0u32; n];
    ops.argmax(act.logits(), &mut l)?;
    let s = scores::Scores::of(&l, k, &truth, classes)?;
    let mut sizes = vec![0; k];
    for &c in &l {
        sizes[c as usize] += 1;
    }
    println!(
        "{src} seed {seed} nb {neighbors:?} sigma {sigma:.3} gamma {:.3} batch {batch} => {:.3}/{:.3}/{:.3} {:.1}s {sizes:?}",
        objective.gamma,
        s.acc,
        s.nmi,
        s.ari,
        t.elapsed().as_secs_f64()
    );
    Ok(())
}
