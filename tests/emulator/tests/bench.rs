//! That what is timed is the work that it is called, and that the way from the host is measured by copies that nothing disturbs.

use neuncut::bench::{StepShape, Work, bench};
use neuncut::cuda::{Cuda, Driver};
use neuncut::ops::Precision;
use neuncut::predict::CHUNK;
use neuncut::progress::Silent;
use neuncut_emulator::Emulator;

use crate::common::emulator;

const SAMPLES: usize = 3;

fn shape(rows: usize, hidden: &[usize]) -> StepShape {
    StepShape {
        rows,
        dims: 5,
        hidden: hidden.to_vec(),
        clusters: 3,
    }
}

fn cuda() -> Cuda<Emulator> {
    Cuda::new(emulator(), Precision::Bf16)
}

#[test]
fn each_work_launches_its_own_kernels() {
    for (work, hidden, launches, last) in [
        // The mini-batch, its affinity, two layers, the soft-max, the contraction, two of the loss, two backward, and the next state.
        (Work::Step, vec![8], 11, Some("advance")),
        (Work::Inference, vec![8, 6], 1, Some("infer_rounded_bf16")),
        // Too wide for one pass: a launch for each layer, and one for the labels.
        (Work::Inference, vec![513], 3, Some("argmax")),
        // Kernels of chunks that overlap are not told apart.
        (Work::Predict, vec![8], 0, None),
    ] {
        let timings = bench(&cuda(), work, &shape(33, &hidden), SAMPLES, &mut Silent).unwrap();
        let kernels: Vec<&str> = timings.kernels.iter().map(|(name, _)| &name[..]).collect();
        println!("{work:?} {hidden:?}: {kernels:?}");
        assert_eq!(kernels.len(), launches, "{work:?} {hidden:?}");
        assert_eq!(kernels.last().copied(), last, "{work:?} {hidden:?}");
        assert_eq!(timings.samples.len(), SAMPLES);
        assert!(
            timings.samples[0] > 0.0 && timings.samples.is_sorted(),
            "{work:?}"
        );
    }
}

#[test]
fn predict_streams_every_chunk_of_its_file_in_every_run() {
    let cuda = cuda();
    bench(
        &cuda,
        Work::Predict,
        &shape(2 * CHUNK + 7, &[8]),
        SAMPLES,
        &mut Silent,
    )
    .unwrap();
    // A chunk is widened, then labelled; three chunks are a run, and some runs are to warm up. Before, the weights of two layers are rounded.
    let launches = cuda.driver().counts().launches - 2;
    assert!(launches >= 6 * (SAMPLES + 1), "{launches} launches");
    assert_eq!(launches % 6, 0, "{launches} launches");
    assert_eq!(cuda.driver().most_awaited(), 2, "chunks overlap");
}

#[test]
fn the_way_from_the_host_is_measured_without_kernels_and_leaves_no_memory_behind() {
    let cuda = cuda();
    let free = cuda.driver().free_memory().unwrap();
    let rate = cuda.host_to_device().unwrap();
    assert!(rate > 0.0 && rate.is_finite(), "{rate} bytes/s");
    assert_eq!(cuda.driver().counts().launches, 0);
    assert_eq!(cuda.driver().free_memory().unwrap(), free);
    let crowded = Cuda::new(Emulator::new().with_memory(1 << 20), Precision::Bf16);
    let told = crowded.host_to_device().unwrap_err().to_string();
    assert!(
        told.contains("the copies that are timed") && !told.contains('\n'),
        "{told}"
    );
}
