use pulp::{Scalar, WithSimd};

use super::layout::{Points, Run, points, runs};
use super::product::Start;
use super::room::Room;
use super::steps::{FilterGradients, Filters, Gradients, Images, Multiply, MultiplyTransposed, Untile};
use super::*;

/// Odd channels, planes that are no whole tiles, padding on one side, one image and many.
fn problems() -> Vec<Problem> {
    let problem = |images, [c_in, c_out]: [usize; 2], input: [usize; 2], [top, left, more]: [usize; 3]| {
        let output = [input[0] + top + more - 2, input[1] + left + more - 2];
        Problem { images, c_in, c_out, input, padding: [top, left], output }
    };
    vec![
        problem(1, [24, 24], [7, 7], [1, 1, 1]),
        problem(2, [33, 50], [9, 6], [1, 1, 1]),
        problem(3, [16, 17], [8, 13], [0, 2, 1]),
        problem(40, [5, 7], [4, 4], [1, 1, 1]), // more tiles than outputs, and several images a task
        problem(1, [150, 33], [12, 20], [2, 0, 0]),
        problem(2, [130, 200], [5, 5], [1, 1, 1]), // more outputs than tiles, and inputs in two parts
        problem(2, [40, 36], [3, 150], [1, 1, 1]),
    ]
}

fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut draws = crate::Random::new(seed).draws();
    (0..n).map(|_| draws.normal() as f32).collect()
}

/// Inputs, filters, gradients of outputs.
fn operands(p: &Problem) -> [Vec<f32>; 3] {
    let x = p.images * p.c_in * p.input[0] * p.input[1];
    [numbers(1, x), numbers(2, p.c_out * p.c_in * TAPS), numbers(3, p.images * p.c_out * p.positions())]
}

/// `f(image, output channel, input channel, tap, output, pixel)` for all products of a convolution.
fn for_each_product(p: &Problem, mut f: impl FnMut(usize, usize, usize)) {
    let ([h, w], [h_out, w_out]) = (p.input, p.output);
    for (image, o) in (0..p.images).flat_map(|n| (0..p.c_out).map(move |o| (n, o))) {
        for (i, tap) in (0..p.c_in).flat_map(|i| (0..TAPS).map(move |tap| (i, tap))) {
            for (row, column) in (0..h_out).flat_map(|row| (0..w_out).map(move |column| (row, column))) {
                let (y, x) = (row + tap / 3, column + tap % 3);
                let (Some(y), Some(x)) = (y.checked_sub(p.padding[0]), x.checked_sub(p.padding[1])) else {
                    continue;
                };
                if y < h && x < w {
                    let out = ((image * p.c_out + o) * h_out + row) * w_out + column;
                    f(out, ((image * p.c_in + i) * h + y) * w + x, (o * p.c_in + i) * TAPS + tap);
                }
            }
        }
    }
}

fn assert_near(actual: &[f32], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - e).abs() < 1e-5 * scale, "{what}: number {i} is {a}, not {e}");
    }
}

#[test]
fn outputs_are_the_sums_they_stand_for() {
    for p in problems() {
        let [x, w, _] = operands(&p);
        let bias = numbers(4, p.c_out);
        let mut expected = vec![0.0; p.images * p.c_out * p.positions()];
        for_each_product(&p, |y, pixel, tap| expected[y] += f64::from(x[pixel]) * f64::from(w[tap]));
        assert_near(&forward(&p, &x, &w, None, None), &expected, &format!("{p:?}"));
        for (y, e) in expected.iter_mut().enumerate() {
            let channel = y / p.positions() % p.c_out;
            *e = (*e + f64::from(bias[channel])) * (channel + 1) as f64;
        }
        let finish = |channel: usize, y: &mut [f32]| y.iter_mut().for_each(|y| *y *= (channel + 1) as f32);
        assert_near(&forward(&p, &x, &w, Some(&bias), Some(&finish)), &expected, &format!("{p:?}, finished"));
    }
}

#[test]
fn gradients_of_filters_are_the_sums_they_stand_for() {
    // The last one in several ranges.
    let large =
        Problem { images: 6, c_in: 32, c_out: 32, input: [60, 60], padding: [1, 1], output: [60, 60] };
    for p in problems().into_iter().chain([large]) {
        let [x, _, dy] = operands(&p);
        let mut expected = vec![0.0; p.c_out * p.c_in * TAPS];
        for_each_product(&p, |y, pixel, tap| expected[tap] += f64::from(x[pixel]) * f64::from(dy[y]));
        assert_near(&weight_gradient(&p, &x, &dy), &expected, &format!("{p:?}"));
    }
}

/// The points are chosen for this; with 0, ±1, ±2 and ∞ it fails.
#[test]
fn rounding_stays_near_that_of_plain_sums() {
    let p = Problem { images: 1, c_in: 512, c_out: 24, input: [8, 8], padding: [1, 1], output: [8, 8] };
    let [x, w, _] = operands(&p);
    let len = p.c_out * p.positions();
    let (mut truth, mut plain) = (vec![0.0f64; len], vec![0.0f32; len]);
    for_each_product(&p, |y, pixel, tap| {
        truth[y] += f64::from(x[pixel]) * f64::from(w[tap]);
        plain[y] = x[pixel].mul_add(w[tap], plain[y]);
    });
    let deviation =
        |y: &[f32]| y.iter().zip(&truth).map(|(y, t)| (f64::from(*y) - t).powi(2)).sum::<f64>().sqrt();
    let (ours, plain) = (deviation(&forward(&p, &x, &w, None, None)), deviation(&plain));
    assert!(ours < 3.0 * plain, "off by {ours}, plain sums by {plain}");
}

#[test]
fn neither_threads_nor_the_batch_change_a_bit() {
    let same =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    for p in problems() {
        let [x, w, dy] = operands(&p);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| (forward(&p, &x, &w, None, None), weight_gradient(&p, &x, &dy)))
        };
        let (y, dw) = run(1);
        for threads in [2, 3, 7] {
            let (other, other_dw) = run(threads);
            assert!(same(&y, &other) && same(&dw, &other_dw), "{p:?} with {threads} threads");
        }
        let alone = Problem { images: 1, ..p };
        let first = forward(&alone, &x[..x.len() / p.images], &w, None, None);
        assert!(same(&first, &y[..first.len()]), "{p:?}: the first image alone");
    }
}

/// Every instruction set of this processor, step by step, beside plain arithmetic.
#[test]
fn all_instruction_sets_agree() {
    let p = Problem { images: 1, c_in: 20, c_out: 40, input: [9, 13], padding: [1, 1], output: [9, 13] };
    let [x, w, dy] = operands(&p);
    let runs = runs(0..3, 3);
    let scalar = steps(&p, [&x, &w, &dy], &runs, &mut Only(Scalar));
    let mut others = vec![("the best", steps(&p, [&x, &w, &dy], &runs, &mut Best))];
    #[cfg(target_arch = "x86_64")]
    if let Some(v3) = pulp::x86::V3::try_new() {
        others.push(("AVX2", steps(&p, [&x, &w, &dy], &runs, &mut Only(v3))));
    }
    for (name, results) in others {
        for (step, (a, b)) in results.iter().zip(&scalar).enumerate() {
            let b: Vec<f64> = b.iter().map(|&b| f64::from(b)).collect();
            assert_near(a, &b, &format!("{name}, step {step}"));
        }
    }
}

trait Runner {
    fn run<W: WithSimd<Output = ()>>(&mut self, step: W);
}

struct Best;
impl Runner for Best {
    fn run<W: WithSimd<Output = ()>>(&mut self, step: W) {
        pulp::Arch::new().dispatch(step);
    }
}

struct Only<S>(S);
impl<S: pulp::Simd> Runner for Only<S> {
    fn run<W: WithSimd<Output = ()>>(&mut self, step: W) {
        self.0.vectorize(step);
    }
}

/// Results of all steps, one after the other: filters, images, gradients, products, outputs, gradients of filters.
fn steps(p: &Problem, [x, w, dy]: [&[f32]; 3], runs: &[Run], runner: &mut impl Runner) -> Vec<Vec<f32>> {
    let [down, across] = p.tiles();
    let tiles = down * across;
    let zeroed = |len: usize| vec![0.0f32; len];
    let (group, block) = (points(tiles, LANES), points(tiles, BLOCK));
    let mut u = zeroed(points(p.inputs(), BLOCK));
    runner.run(Filters { p, w, first: 0, inputs: 0..p.inputs(), u: u.as_mut_ptr() });
    let mut v = zeroed(p.groups() * group);
    for n in 0..p.groups() {
        let to = Points { data: v[n * group..].as_mut_ptr(), first: 0, tiles, width: LANES };
        runner.run(Images { from: p.planes(x), channel: n * LANES, runs, to });
    }
    let mut d = zeroed(block);
    let from = Planes { data: dy, channels: p.c_out, size: p.output, padding: [0, 0], overlap: 0, across };
    for half in 0..2 {
        let to = Points { data: d[half * LANES..].as_mut_ptr(), first: 0, tiles, width: BLOCK };
        runner.run(Gradients { from, channel: half * LANES, runs, to });
    }
    let (mut m, mut lines) = (zeroed(block), Vec::new());
    for start in [Start::Empty, Start::Sum] {
        let factors = [u.as_ptr(), v.as_ptr()];
        runner.run(Multiply { factors, m: m.as_mut_ptr(), sizes: [p.inputs(), tiles], start });
    }
    runner.run(Untile { m: m.as_ptr(), tiles, across, lines: &mut lines });
    let (mut du, mut dw) = (zeroed(points(LANES, BLOCK)), zeroed(w.len()));
    for start in [Start::Empty, Start::Sum] {
        runner.run(MultiplyTransposed {
            factors: [v.as_ptr(), d.as_ptr()],
            u: du.as_mut_ptr(),
            tiles,
            start,
        });
    }
    runner.run(FilterGradients { p, u: du.as_ptr(), channels: [0, 0], dw: dw.as_mut_ptr() });
    vec![u, v, d, m, lines, du, dw]
}

#[test]
fn room_is_written_and_read() {
    let room = Room::new(4);
    let at = room.at(1, 3);
    // SAFETY: three numbers of a room of four.
    unsafe {
        (0..3).for_each(|i| at.add(i).write(i as f32));
        assert_eq!(*room.at(3, 1), 2.0);
    }
}

#[test]
#[should_panic(expected = "out of range")]
fn beyond_a_room_there_is_nothing() {
    Room::new(4).at(2, 3);
}

#[test]
fn it_suits_what_it_is_for() {
    let p = Problem { images: 1, c_in: 64, c_out: 64, input: [56, 56], padding: [1, 1], output: [56, 56] };
    assert!(p.suits() && Problem { output: [7, 7], ..p }.suits());
    assert!(!Problem { c_in: 3, ..p }.suits() && !Problem { c_out: 10, ..p }.suits());
    // A tile of 16 outputs for one of them.
    assert!(!Problem { output: [1, 1], ..p }.suits() && !Problem { output: [56, 1], ..p }.suits());
    assert!(!Problem { images: 0, ..p }.suits());
}
