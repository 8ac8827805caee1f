//! The devices that are held to Flex: those of the compiled Cargo features that this machine has, and Flex
//! itself on the composed operations of all others.

use std::io::{self, Write};
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::LazyLock;

use burn::tensor::{Device, Tensor, TensorData};
use recsys::kernels;
use recsys::rng::Rng;

/// Names devices (`wgpu`, `cuda`, `ndarray`), with commas between them, that must not be missing.
const REQUIRED: &str = "RECSYS_REQUIRE_DEVICE";

pub struct Other {
    name: &'static str,
    device: Device,
}

/// Numbers that have one scale, and what they are.
pub type Part = (&'static str, Vec<f32>);

#[allow(deprecated, reason = "upstream keeps `ndarray` for now, and so do we")]
static OTHERS: LazyLock<Vec<Other>> = LazyLock::new(|| {
    let others = [Other { name: "composed", device: Device::flex() }].into_iter();
    #[cfg(feature = "wgpu")]
    let others = others.chain(find("wgpu", || {
        let (device, setup) = Device::wgpu_options().init_with_setup().map_err(|error| error.to_string())?;
        let adapter = setup.adapter.get_info();
        Ok((device, format!("{}, {} {}", adapter.name, adapter.driver, adapter.driver_info)))
    }));
    #[cfg(feature = "cuda")]
    let others = others.chain(find("cuda", || Ok((Device::cuda(0), "device 0".into()))));
    #[cfg(feature = "ndarray")]
    let others = others.chain(find("ndarray", || Ok((Device::ndarray(), "the CPU".into()))));
    others.collect()
});

/// The device, if it adds one and one, and a word about it on standard error either way.
#[allow(dead_code, reason = "without a device's feature there is none to look for")]
fn find(
    name: &'static str,
    open: impl FnOnce() -> Result<(Device, String), String> + UnwindSafe,
) -> Option<Other> {
    let found = catch_unwind(|| {
        let (device, description) = open()?;
        let two: f32 = Tensor::<1>::ones([2], &device).sum().into_scalar();
        if two == 2.0 { Ok((device, description)) } else { Err(format!("1 + 1 = {two}")) }
    });
    match found.unwrap_or_else(|_| Err("it panics".into())) {
        Ok((device, description)) => {
            say(&format!("{name}: {description}"));
            Some(Other { name, device })
        }
        Err(reason) => {
            say(&format!("*** SKIPPED: no device for `{name}` on this machine: {reason}"));
            None
        }
    }
}

/// Past the test runner, which would keep the word of a passing test to itself.
fn say(line: &str) {
    writeln!(io::stderr(), "\n{line}").expect("standard error is open");
}

impl Other {
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The largest difference from Flex, relative to the largest number of a part. Burn multiplies matrices on CUDA in
    /// TF32, whose numbers have ten bits behind the first; steps of Adam then part further.
    pub fn tolerance(&self) -> f32 {
        if self.name == "cuda" { 4e-2 } else { 1e-3 }
    }

    pub fn run<R>(&self, f: impl FnOnce(&Device) -> R) -> R {
        kernels::composed(|| f(&self.device))
    }

    /// Holds what this device found to what Flex did.
    pub fn compare(&self, what: &str, found: &[Part], expected: &[Part]) {
        let what = format!("{what} on {}", self.name);
        assert_eq!(found.len(), expected.len(), "{what}");
        for ((name, found), (_, expected)) in found.iter().zip(expected) {
            assert_eq!(found.len(), expected.len(), "{what}: {name}");
            let scale = expected.iter().fold(1e-6f32, |max, x| max.max(x.abs()));
            assert!(scale.is_finite(), "{what}: {name} is not finite on Flex");
            let difference = |(found, expected): (&f32, &f32)| (found - expected).abs() / scale;
            let differences = found.iter().zip(expected).map(difference);
            let (at, worst) = differences.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
            println!("{worst:.1e} {what}: {name}");
            assert!(
                worst <= self.tolerance(),
                "{what}: {name}[{at}] is {}, not {}, among numbers up to {scale}",
                found[at],
                expected[at]
            );
        }
    }
}

pub fn others() -> &'static [Other] {
    &OTHERS
}

/// Runs the same on Flex and on every other device, and compares part by part.
pub fn agree(what: &str, run: impl Fn(&Device) -> Vec<Part>) {
    let expected = run(&Device::flex());
    for other in others() {
        other.compare(what, &other.run(&run), &expected);
    }
}

/// Standard normal numbers.
pub fn normal<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut rng = Rng::new(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[test]
fn every_device_that_must_be_here_is_here() {
    let names: Vec<&str> = others().iter().map(Other::name).collect();
    let required = std::env::var(REQUIRED).unwrap_or_default();
    for name in required.split(',').filter(|name| !name.is_empty()) {
        assert!(names.contains(&name), "{REQUIRED} asks for {name}, and there is only: {names:?}");
    }
}
