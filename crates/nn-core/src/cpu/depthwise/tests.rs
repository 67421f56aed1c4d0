use super::*;
use crate::ops::Rounding;
use crate::ops::window::Window;

/// Input, kernel, stride, dilation, padding, outputs of a channel.
type Case = ([usize; 2], [usize; 2], [usize; 2], [usize; 2], [[usize; 2]; 2], usize);

/// The sizes that have loops of their own, on planes narrower and wider than a strip; then others.
const CASES: &[Case] = &[
    ([7, 7], [3, 3], [1, 1], [1, 1], [[1, 1], [1, 1]], 1),
    ([14, 14], [3, 3], [1, 1], [1, 1], [[1, 1], [1, 1]], 2),
    ([5, 33], [3, 3], [1, 1], [1, 1], [[1, 1], [1, 1]], 1),
    ([6, 50], [3, 3], [1, 1], [1, 1], [[0, 2], [2, 0]], 1),
    ([90, 75], [3, 3], [1, 1], [1, 1], [[1, 1], [1, 1]], 1),
    ([14, 13], [3, 3], [2, 2], [1, 1], [[1, 1], [1, 1]], 1),
    ([112, 140], [3, 3], [2, 2], [1, 1], [[1, 1], [1, 1]], 1),
    ([9, 8], [3, 3], [2, 2], [1, 1], [[0, 1], [0, 1]], 3),
    ([9, 10], [5, 5], [1, 1], [1, 1], [[2, 2], [2, 2]], 1),
    ([11, 20], [5, 5], [2, 2], [1, 1], [[2, 2], [2, 2]], 2),
    ([1, 1], [3, 3], [1, 1], [1, 1], [[1, 1], [1, 1]], 1),
    ([4, 5], [1, 1], [1, 1], [1, 1], [[0, 0], [0, 0]], 1),
    ([8, 9], [2, 3], [1, 3], [3, 2], [[1, 1], [0, 0]], 2),
    ([9, 9], [1, 2], [3, 4], [1, 1], [[0, 0], [1, 0]], 1), // pixels that no tap sees
    ([10, 7], [7, 3], [3, 2], [1, 2], [[3, 3], [4, 4]], 1),
    ([6, 6], [3, 3], [1, 1], [2, 2], [[2, 2], [2, 2]], 1),
    ([5, 4], [4, 4], [2, 2], [1, 1], [[3, 3], [3, 3]], 1),
];
const CHANNELS: usize = 3;
const IMAGES: usize = 2;

fn patches(&(input, kernel, stride, dilation, padding, _): &Case) -> Patches {
    let windows = [0, 1].map(|i| Window {
        kernel: kernel[i],
        stride: stride[i],
        dilation: dilation[i],
        padding: padding[i],
        rounding: Rounding::Floor,
    });
    let output = [0, 1].map(|i| windows[i].count("test", "axis", input[i]).expect("the kernel fits"));
    Patches { input, windows, output }
}

/// `f(pixel, tap, output)` for all that a plane's outputs see.
fn each(p: &Patches, mut f: impl FnMut(usize, usize, usize)) {
    let [rows, columns] = &p.windows;
    for (i, j) in (0..p.output[0]).flat_map(|i| (0..p.output[1]).map(move |j| (i, j))) {
        for (kh, kw) in (0..rows.kernel).flat_map(|kh| (0..columns.kernel).map(move |kw| (kh, kw))) {
            let y = (i * rows.stride + kh * rows.dilation).checked_sub(rows.padding[0]);
            let x = (j * columns.stride + kw * columns.dilation).checked_sub(columns.padding[0]);
            if let (Some(y), Some(x)) = (y.filter(|&y| y < p.input[0]), x.filter(|&x| x < p.input[1])) {
                f(y * p.input[1] + x, kh * columns.kernel + kw, i * p.output[1] + j);
            }
        }
    }
}

fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let mut draws = crate::Random::new(seed).draws();
    (0..len).map(|_| draws.normal()).collect()
}

fn close<T: Element>(y: &[T], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(y.len(), expected.len(), "{what}");
    for (i, (y, e)) in y.iter().zip(expected).enumerate() {
        assert!(
            (y.to_f64() - e).abs() < tolerance * e.abs().max(1.0),
            "{what}, element {i}: {} is not {e}",
            y.to_f64()
        );
    }
}

fn passes_are_right<T: Element>(tolerance: f64) {
    for case in CASES {
        let (p, m) = (patches(case), case.5);
        let (plane, positions, taps) = (p.plane(), p.positions(), p.taps());
        let x = numbers(1, IMAGES * CHANNELS * plane);
        let dy = numbers(2, IMAGES * CHANNELS * m * positions);
        let (w, b) = (numbers(3, CHANNELS * m * taps), numbers(4, CHANNELS * m));
        let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        for output in 0..IMAGES * CHANNELS * m {
            let (input, kernel) = (output / m, output % (CHANNELS * m));
            y[output * positions..(output + 1) * positions].fill(b[kernel]);
            each(&p, |pixel, tap, at| {
                let (pixel, tap, at) = (input * plane + pixel, kernel * taps + tap, output * positions + at);
                y[at] += w[tap] * x[pixel];
                dx[pixel] += w[tap] * dy[at];
                dw[tap] += dy[at] * x[pixel];
            });
        }
        let of = |v: &[f64]| v.iter().map(|&v| T::of(v)).collect::<Vec<T>>();
        let (x, dy, w, b) = (of(&x), of(&dy), of(&w), of(&b));
        let what = format!("{case:?}");
        close(&forward(&p, [CHANNELS, m], &x, &w, Some(&b), None), &y, tolerance, &what);
        close(&input_gradient(&p, [CHANNELS, m], &dy, &w, None), &dx, tolerance, &what);
        close(&weight_gradient(&p, [CHANNELS, m], &dy, &x), &dw, 30.0 * tolerance, &what);
    }
}

#[test]
fn passes_are_right_in_both_types() {
    passes_are_right::<f32>(1e-5);
    passes_are_right::<f64>(1e-12);
}

/// One plane forward on every instruction set of this processor.
#[test]
fn all_instruction_sets_agree() {
    for case in CASES.iter().filter(|case| case.5 == 1) {
        let p = patches(case);
        let (x, w) = (numbers(1, p.plane()), numbers(2, p.taps()));
        let mut y = vec![0.0; p.positions()];
        each(&p, |pixel, tap, at| y[at] += w[tap] * x[pixel]);
        let scheme = Scheme::forward(&p);
        let sweep = Sweep {
            scheme: &scheme,
            channels: 1,
            sources: 1,
            outputs: 1,
            x: &x,
            w: &w,
            b: None,
            finish: None,
        };
        let run = |f: &dyn Fn(Part<'_, '_, f64>)| {
            let mut room = Room::new(&sweep, p.output[0], p.positions());
            let place = Place { plane: 0, row: 0, len: p.positions() };
            f(Part { sweep: &sweep, place, room: &mut room });
            close(&room.out[..p.positions()], &y, 1e-12, &format!("{case:?}"));
        };
        run(&|part| part.with_simd(pulp::Scalar));
        run(&|part| Arch::new().dispatch(part));
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            run(&|part| pulp::Simd::vectorize(v3, part));
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let p = patches(&CASES[4]);
    let of = |seed, len| numbers(seed, len).into_iter().map(|v| v as f32).collect::<Vec<_>>();
    let (channels, images) = (5, 3);
    let x = of(1, images * channels * p.plane());
    let (dy, w) = (of(2, images * channels * p.positions()), of(3, channels * p.taps()));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let y = forward(&p, [channels, 1], &x, &w, None, None);
            let (dx, dw) = (
                input_gradient(&p, [channels, 1], &dy, &w, None),
                weight_gradient(&p, [channels, 1], &dy, &x),
            );
            [y, dx, dw].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}
