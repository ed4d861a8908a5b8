//! Times every operator, forward and backward, on the CPU or a GPU; one JSON line each.
//!
//! ```text
//! cargo run --release -p epnas-ops --example operator_times -- --device cpu --batch 16 --channels 24
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use epnas_ops::{
    Accumulate, Activation, AvgPool2d, BatchNorm, BatchStatistics, Conv2d, ConvGradient, Cotangent,
    DepthwiseConv2d, FactorizedConv, Head, MaxPool2d, Norm, NormGradient, Operand, Output,
    Recording, Result, Running, Sgd, Slot, SoftmaxCrossEntropy, Target, Term, accumulate,
    accumulate_scaled, average, mix_with_reverse, sum, zeros,
};

const USAGE: &str = "usage: operator_times [--device cpu|cuda] [--batch 128] [--side 32] [--channels 24] \
                     [--seconds 0.2] [--only NAME]";

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    side: usize,
    channels: usize,
}

struct Options {
    device: Device,
    sizes: Sizes,
    /// How long each operator is repeated.
    time: Duration,
    /// What the names of the operators must begin with.
    only: String,
}

fn options() -> std::result::Result<Options, Box<dyn Error>> {
    let mut options = Options {
        device: Device::Cpu,
        sizes: Sizes {
            batch: 128,
            side: 32,
            channels: 24,
        },
        time: Duration::from_millis(200),
        only: String::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match (flag.as_str(), value.as_str()) {
            ("--device", "cpu") => options.device = Device::Cpu,
            ("--device", "cuda") => options.device = epnas_ops::gpu(0)?,
            ("--batch", _) => options.sizes.batch = value.parse()?,
            ("--side", _) => options.sizes.side = value.parse()?,
            ("--channels", _) => options.sizes.channels = value.parse()?,
            ("--seconds", _) => options.time = Duration::from_secs_f64(value.parse()?),
            ("--only", _) => options.only = value,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let options = options()?;
    // Images in bfloat16 are for GPUs.
    let types: &[DType] = match options.device.is_cpu() {
        true => &[DType::F32],
        false => &[DType::F32, DType::BF16],
    };
    for &dtype in types {
        let bench = Bench {
            device: options.device.clone(),
            time: options.time,
            sizes: options.sizes,
            only: options.only.clone(),
            dtype,
        };
        bench.convolutions()?;
        bench.windows()?;
        bench.rest()?;
    }
    Ok(())
}

struct Bench {
    device: Device,
    time: Duration,
    sizes: Sizes,
    only: String,
    /// Of the images.
    dtype: DType,
}

/// What an operator is called, and what it has to do.
struct Work<'a> {
    operator: &'a str,
    phase: &'a str,
    /// Multiplications and additions.
    flops: usize,
    /// Images read and written, counted in images of the full size.
    images: f64,
}

impl Bench {
    fn dims(&self, stride: usize) -> [usize; 4] {
        let Sizes {
            batch,
            side,
            channels,
        } = self.sizes;
        [
            batch,
            side.div_ceil(stride),
            side.div_ceil(stride),
            channels,
        ]
    }

    /// Random images.
    fn images(&self, stride: usize) -> Result<Tensor> {
        let images = Tensor::randn(0f32, 1.0, &self.dims(stride), &Device::Cpu)?;
        Ok(images.to_dtype(self.dtype)?.to_device(&self.device)?)
    }

    fn floats(&self, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::randn(0f32, 0.1, shape, &Device::Cpu)?.to_device(&self.device)?)
    }

    fn norm(&self) -> Result<Norm> {
        let c = self.sizes.channels;
        Ok(Norm {
            activation: Activation::Relu,
            scale: self.floats(&[c])?,
            shift: self.floats(&[c])?,
            saved: (self.floats(&[2, c])?.abs()? + 0.5)?,
        })
    }

    fn operand(&self) -> Result<Operand> {
        Ok(Operand {
            x: self.images(1)?,
            norm: Some(self.norm()?),
        })
    }

    /// A gradient that has to pass a batch norm.
    fn cotangent(&self, stride: usize) -> Result<Cotangent> {
        Ok(Cotangent {
            dy: self.images(stride)?,
            norm: Some(self.norm_gradient(self.images(stride)?)?),
        })
    }

    fn norm_gradient(&self, x: Tensor) -> Result<NormGradient> {
        let c = self.sizes.channels;
        Ok(NormGradient {
            norm: self.norm()?,
            x,
            dscale: self.floats(&[c])?,
            dshift: self.floats(&[c])?,
        })
    }

    fn target(&self) -> Result<Target> {
        let dx = self.images(1)?;
        Ok(Target {
            norms: vec![self.norm_gradient(dx.copy()?)?],
            dx,
            acc: Accumulate::Overwrite,
        })
    }

    /// Calls an operator until the time is over and prints what one call takes; on a GPU recorded, as in a training.
    fn run(&self, work: Work, mut call: impl FnMut() -> Result<()>) -> Result<()> {
        if !work.operator.starts_with(&self.only) {
            return Ok(());
        }
        call()?;
        let recording = match Recording::is_possible(&self.device) {
            // What reads something back is called.
            true => Recording::of(&self.device, &mut call).ok(),
            false => None,
        };
        let mut once = || match &recording {
            Some(recording) => recording.replay(),
            None => call(),
        };
        once()?;
        self.device.synchronize()?;
        let (start, mut calls, mut chunk) = (Instant::now(), 0, 1);
        while calls == 0 || start.elapsed() < self.time {
            for _ in 0..chunk {
                once()?;
            }
            self.device.synchronize()?;
            calls += chunk;
            // Long enough that waiting does not count.
            chunk = (2 * chunk).min(64);
        }
        let seconds = start.elapsed().as_secs_f64() / f64::from(calls);
        let image = self.dims(1).iter().product::<usize>() * self.dtype.size_in_bytes();
        let precision = match self.dtype {
            DType::BF16 => "bf16",
            _ => "f32",
        };
        println!(
            "{}",
            serde_json::json!({
                "operator": work.operator,
                "phase": work.phase,
                "shape": self.dims(1).map(|extent| extent.to_string()).join("x"),
                "precision": precision,
                "seconds": seconds,
                "flops": work.flops,
                "bytes": (work.images * image as f64) as usize,
                "recorded": recording.is_some(),
            })
        );
        Ok(())
    }

    fn statistics<'a>(&self, saved: &'a Tensor, running: &'a [Tensor; 2]) -> BatchStatistics<'a> {
        BatchStatistics {
            eps: 1e-5,
            saved,
            running: Running {
                mean: &running[0],
                variance: &running[1],
                momentum: 0.1,
            },
        }
    }

    fn convolutions(&self) -> Result<()> {
        let c = self.sizes.channels;
        let pixels = self.sizes.batch * self.sizes.side * self.sizes.side;
        let saved = self.floats(&[2, c])?;
        let running = [self.floats(&[c])?, self.floats(&[c])?];
        // Kernel, and how many sources.
        for (kernel, sources) in [(1, 1), (1, 3), (3, 1), (5, 1)] {
            let op = Conv2d::new(kernel, 1);
            let mut inputs = Vec::new();
            let mut gradients = Vec::new();
            for _ in 0..sources {
                let (x, w) = (self.operand()?, self.floats(&[kernel, kernel, c, c])?);
                gradients.push(ConvGradient {
                    x: x.clone(),
                    w: w.clone(),
                    dw: Some(w.copy()?),
                    dx: Some(self.target()?),
                });
                inputs.push((x, w));
            }
            let (y, dy) = (self.images(1)?, self.cotangent(1)?);
            let plural = if sources == 1 { "" } else { "s" };
            let name = format!("conv {kernel}x{kernel}, {sources} source{plural}");
            let flops = 2 * sources * kernel * kernel * c * c * pixels;
            let work = |phase, flops, images| Work {
                operator: &name,
                phase,
                flops,
                images,
            };
            let sources = sources as f64;
            self.run(work("forward", flops, sources + 1.0), || {
                let inputs: Vec<(&Operand, &Tensor)> = inputs.iter().map(|(x, w)| (x, w)).collect();
                let output = Output {
                    y: &y,
                    statistics: Some(self.statistics(&saved, &running)),
                };
                op.forward_fused(&inputs, output)
            })?;
            self.run(work("backward", 2 * flops, 2.0 + 3.0 * sources), || {
                op.backward_fused(&dy, &gradients)
            })?;
        }

        let (x, y, dy) = (self.operand()?, self.images(2)?, self.cotangent(2)?);
        let weights = [c.div_ceil(2), c / 2].map(|half| self.floats(&[1, 1, c, half]));
        let [first, second] = weights;
        let (first, second) = (first?, second?);
        let (dfirst, dsecond, dx) = (first.copy()?, second.copy()?, self.target()?);
        let flops = 2 * c * c * pixels / 4;
        let work = |phase, flops, images| Work {
            operator: "factorized 1x1, stride 2",
            phase,
            flops,
            images,
        };
        self.run(work("forward", flops, 1.25), || {
            FactorizedConv::default().forward_fused(&x, [&first, &second], (&y).into())
        })?;
        self.run(work("backward", 2 * flops, 3.5), || {
            let (weights, dweights) = ([&first, &second], [&dfirst, &dsecond]);
            FactorizedConv::default().backward_fused(&dy, &x, weights, dweights, Some(&dx))
        })
    }

    fn windows(&self) -> Result<()> {
        let c = self.sizes.channels;
        let pixels = self.sizes.batch * self.sizes.side * self.sizes.side;
        let x = self.operand()?;
        for kernel in [3, 5] {
            let op = DepthwiseConv2d { kernel, stride: 1 };
            let w = self.floats(&[kernel, kernel, c])?;
            let (y, dy, dw, dx) = (
                self.images(1)?,
                self.cotangent(1)?,
                w.copy()?,
                self.target()?,
            );
            let name = format!("depthwise {kernel}x{kernel}");
            let flops = 2 * kernel * kernel * c * pixels;
            let work = |phase, flops, images| Work {
                operator: &name,
                phase,
                flops,
                images,
            };
            self.run(work("forward", flops, 2.0), || {
                op.forward_fused(&x, &w, (&y).into())
            })?;
            self.run(work("backward", 2 * flops, 5.0), || {
                op.backward_fused(&dy, &x, &w, &dw, Some(&dx))
            })?;
        }
        for stride in [1, 2] {
            let share = 1.0 / (stride * stride) as f64;
            let (y, dy, dx) = (self.images(stride)?, self.images(stride)?, self.target()?);
            let argmax = zeros(y.shape(), DType::U8, &self.device)?;
            let name = format!("max pool 3x3, stride {stride}");
            let work = |phase, images| Work {
                operator: &name,
                phase,
                flops: 0,
                images,
            };
            let op = MaxPool2d { stride };
            self.run(work("forward", 1.0 + share), || {
                op.forward_fused(&x, &y, Some(&argmax))
            })?;
            self.run(work("backward", 2.0 + share), || {
                op.backward_fused(&dy, &argmax, &dx)
            })?;
            let name = format!("average pool 3x3, stride {stride}");
            let work = |phase, images| Work {
                operator: &name,
                phase,
                flops: 0,
                images,
            };
            let op = AvgPool2d { stride };
            self.run(work("forward", 1.0 + share), || op.forward_fused(&x, &y))?;
            self.run(work("backward", 2.0 + share), || {
                op.backward_fused(&dy, &dx)
            })?;
        }
        Ok(())
    }

    fn rest(&self) -> Result<()> {
        const CLASSES: usize = 10;
        let (batch, c) = (self.sizes.batch, self.sizes.channels);
        let work = |operator, phase, images| Work {
            operator,
            phase,
            flops: 0,
            images,
        };
        let (a, b, y) = (self.operand()?, self.operand()?, self.images(1)?);
        self.run(work("sum of two", "forward", 3.0), || {
            sum(&[(&a).into(), (&b).into()], &y)
        })?;
        let dx = self.images(1)?;
        self.run(work("sum of two", "backward", 3.0), || {
            accumulate(&y, &dx, Accumulate::Add)
        })?;
        let factors = self.floats(&[batch])?;
        let terms = [&a, &b].map(|x| Term {
            x,
            factors: Some(&factors),
        });
        self.run(work("scaled sum of two", "forward", 3.0), || {
            sum(&terms, &y)
        })?;
        self.run(work("scaled sum of two", "backward", 3.0), || {
            accumulate_scaled(&y, &factors, &dx, Accumulate::Add)
        })?;
        let (mixed, share) = (self.images(1)?, factors.narrow(0, 0, 1)?);
        self.run(work("mixture", "forward", 2.0), || {
            mix_with_reverse(&mixed, &share)
        })?;
        let gradient = self.norm_gradient(self.images(1)?)?;
        self.run(work("batch norm parameters", "backward", 2.0), || {
            BatchNorm::backward_parameters(&y, &gradient)
        })?;

        let (weight, bias) = (self.floats(&[c, CLASSES])?, self.floats(&[CLASSES])?);
        let (pooled, logits) = (self.floats(&[batch, c])?, self.floats(&[batch, CLASSES])?);
        self.run(work("head", "forward", 1.0), || {
            Head.forward_fused(&a, &weight, &bias, &pooled, &logits, Accumulate::Overwrite)
        })?;
        let labels = Tensor::zeros(batch, DType::U32, &self.device)?;
        let dlogits = logits.copy()?;
        let loss = SoftmaxCrossEntropy::default();
        // Called: what it gives is read back.
        self.run(work("loss", "forward and backward", 0.0), || {
            loss.forward_backward(&logits, &labels, &dlogits).map(drop)
        })?;
        let (dweight, dbias) = (weight.copy()?, bias.copy()?);
        self.run(work("head", "backward", 1.0), || {
            let acc = Accumulate::Overwrite;
            Head.backward(&pooled, &weight, &dlogits, &dx, acc, &dweight, &dbias)
        })?;
        let slots: Vec<Slot> = (0..40)
            .map(|_| {
                let value = self.floats(&[3, 3, c, c])?;
                Slot::new(value.copy()?, value, Sgd::STATES)
            })
            .collect::<Result<_>>()?;
        self.run(work("update of 40 weights", "update", 0.0), || {
            Sgd::default().step(&slots, 1e-6, Some(5.0)).map(drop)
        })?;
        let pairs: Vec<(Tensor, Tensor)> = slots
            .into_iter()
            .map(|slot| (slot.value, slot.grad))
            .collect();
        self.run(work("average of 40 weights", "update", 0.0), || {
            average(&pairs, 0.999)
        })
    }
}
