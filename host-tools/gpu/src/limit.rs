//! A device's own multiply-add rate, which nothing that it computes can exceed.

use std::time::Instant;

use fluxlet_backend::Failed;

use crate::Gpu;
use crate::device::{BUFFERS, Call, Step, Which};
use crate::kernel::{COMMON, MAIN};

/// Workgroups of 64 threads, and multiply-adds of each thread: 8 chains of `LINKS` vectors of 4.
const GROUPS: u32 = 4096;
const LINKS: u32 = 256;
const CHAINS: u32 = 8;
/// Kernels of a submission at most, and seconds after which it has enough of them.
const MOST: usize = 256;
const LONG: f64 = 0.02;

impl Gpu {
    /// Multiply-adds a second, measured for so many seconds.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn multiply_adds_a_second(&self, seconds: f64) -> Result<f64, Failed> {
        let text = format!(
            "{COMMON}
@compute @workgroup_size(64)
fn {MAIN}(@builtin(global_invocation_id) id: vec3<u32>) {{
    let a = vec4(0.999);
    let b = vec4(f32(id.x) * 1e-9);
    var sums: array<vec4<f32>, {CHAINS}>;
    for (var link = 0u; link < {LINKS}u; link++) {{
        {}
    }}
    var total = vec4(0.0);
    for (var c = 0u; c < {CHAINS}u; c++) {{ total += sums[c]; }}
    // Nobody reads it, and the compiler cannot know.
    if (total.x == -1.0) {{ x[0] = total.y + total.z + total.w; }}
}}
",
            (0..CHAINS).map(|c| format!("sums[{c}] = fma(sums[{c}], a, b); ")).collect::<String>()
        );
        let pipeline = self.device.pipeline(&text)?;
        let buffers = self.device.buffers([1; BUFFERS], MOST)?;
        let run = |count: usize| {
            let step = || Step {
                pipeline: pipeline.clone(),
                call: Call::default(),
                groups: [GROUPS, 1, 1],
            };
            let begin = Instant::now();
            let steps: Vec<Step> = (0..count).map(|_| step()).collect();
            self.device.run(&buffers, &steps, (Which::ROWS, 0, 1))?;
            Ok(begin.elapsed().as_secs_f64())
        };
        let each = f64::from(GROUPS) * 64.0 * f64::from(LINKS * CHAINS * 4);
        let (begin, mut best, mut count) = (Instant::now(), 0.0_f64, 1);
        while begin.elapsed().as_secs_f64() < seconds {
            let time = run(count)?;
            best = best.max(count as f64 * each / time);
            // A submission has to be long beside what it takes to make one.
            if time < LONG && 2 * count <= MOST {
                count *= 2;
            }
        }
        Ok(best)
    }
}
