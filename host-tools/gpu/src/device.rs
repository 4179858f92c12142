//! A GPU: its buffers, its kernels, and what may go wrong with it.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::{Pod, Zeroable};
use fluxlet_backend::Failed;
use rayon::prelude::*;

use crate::adapter::Adapter;
use crate::kernel::MAIN;

/// Bytes from one call to the next: what a dynamic offset is a multiple of everywhere.
const CALL: usize = 256;
/// Storage buffers of a kernel, `common.wgsl` says of what: as many as every device has.
pub(crate) const BUFFERS: usize = 8;

/// Kernels of a submission: the device begins with them while the next ones are encoded.
const SUBMITTED: usize = 128;

/// Bytes that a thread copies at once.
const COPIED: usize = 1 << 15;

/// What one kernel is told; `common.wgsl` says what the numbers mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Call {
    pub(crate) rows: u32,
    pub(crate) per_model: u32,
    pub(crate) parts: u32,
    pub(crate) width: u32,
    pub(crate) input_at: u32,
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    pub(crate) context: u32,
    pub(crate) gradient: u32,
    pub(crate) log_prob: u32,
    pub(crate) begins: u32,
    pub(crate) w_at: u32,
    pub(crate) w_len: u32,
    pub(crate) table_at: u32,
    pub(crate) share: u32,
    pub(crate) models: u32,
    pub(crate) theta_len: u32,
    pub(crate) theta: u32,
    pub(crate) dtheta: u32,
    pub(crate) pace: u32,
    pub(crate) told: u32,
    pub(crate) first: u32,
    pub(crate) outputs: u32,
    pub(crate) inputs: u32,
    pub(crate) nan: u32,
    pub(crate) infinity: u32,
}

/// A buffer of `common.wgsl`, by its number less 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Which(usize);

impl Which {
    pub(crate) const INPUT: Self = Self(0);
    pub(crate) const WEIGHTS: Self = Self(1);
    pub(crate) const ROWS: Self = Self(2);
    pub(crate) const TABLE: Self = Self(4);
    pub(crate) const GRADIENT: Self = Self(6);
    pub(crate) const STATE: Self = Self(7);
}

/// A kernel, what it is told, and its workgroups.
pub(crate) struct Step {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) call: Call,
    pub(crate) groups: [u32; 3],
}

/// The memory of a plan.
pub(crate) struct Buffers {
    each: [wgpu::Buffer; BUFFERS],
    calls: wgpu::Buffer,
    group: wgpu::BindGroup,
}

/// An open device.
pub(crate) struct Device {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    bindings: wgpu::BindGroupLayout,
    layout: wgpu::PipelineLayout,
    /// Those that were compiled, by text and entry point.
    pipelines: Mutex<HashMap<(String, &'static str), wgpu::ComputePipeline>>,
    /// What went wrong first.
    trouble: Arc<Mutex<Option<String>>>,
    /// Bytes of the largest buffer.
    limit: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_a_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Copies with all threads: what is written may be the device's own memory, where every thread waits for
/// each of its writes.
fn copy(from: &[u8], to: wgpu::WriteOnly<[u8]>) {
    let (parts, mut rest) = to.into_chunks::<COPIED>();
    let from_parts = from.par_chunks_exact(COPIED);
    rest.copy_from_slice(from_parts.remainder());
    let parts: Vec<_> = parts.into_iter().collect();
    parts.into_par_iter().zip(from_parts).for_each(|(to, from)| {
        wgpu::WriteOnly::<[u8]>::from(to).copy_from_slice(from);
    });
}

impl Device {
    /// Opens an adapter.
    pub(crate) fn open(adapter: &Adapter) -> Result<Self, Failed> {
        let name = adapter.name.clone();
        let limit = adapter.largest_buffer;
        let descriptor = wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits {
                max_storage_buffer_binding_size: limit,
                max_buffer_size: limit,
                ..wgpu::Limits::default()
            },
            ..wgpu::DeviceDescriptor::default()
        };
        let opened = pollster::block_on(adapter.adapter.request_device(&descriptor));
        let (device, queue) = opened.map_err(|error| Failed::new(&name, &error))?;

        let trouble = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |error| {
            lock(&noted).get_or_insert_with(|| in_a_line(&error.to_string()));
        }));
        let noted = Arc::clone(&trouble);
        device.set_device_lost_callback(move |_, reason| {
            // The reason of every other trouble.
            *lock(&noted) = Some(in_a_line(&format!("it was lost: {reason}")));
        });

        let call = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: None,
        };
        let storage = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: false },
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let entries: Vec<_> = (0..=BUFFERS as u32)
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: if binding == 0 { call } else { storage },
                count: None,
            })
            .collect();
        let bindings = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            bind_group_layouts: &[Some(&bindings)],
            ..wgpu::PipelineLayoutDescriptor::default()
        });
        let pipelines = Mutex::default();
        Ok(Self { name, device, queue, bindings, layout, pipelines, trouble, limit })
    }

    /// Bytes of the largest buffer.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// That it failed, and why.
    pub(crate) fn failed(&self, reason: impl core::fmt::Display) -> Failed {
        Failed::new(&self.name, &reason)
    }

    fn check(&self) -> Result<(), Failed> {
        lock(&self.trouble).as_ref().map_or(Ok(()), |reason| Err(self.failed(reason)))
    }

    /// Compiles whole modules, those that are not empty, with all threads.
    pub(crate) fn compile_all<'t>(
        &self,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<(), Failed> {
        let texts: HashSet<&str> = texts.filter(|text| !text.is_empty()).collect();
        texts.into_par_iter().try_for_each(|text| self.pipeline(text).map(|_| ()))
    }

    /// The compiled kernel of a whole module.
    pub(crate) fn pipeline(&self, text: &str) -> Result<wgpu::ComputePipeline, Failed> {
        self.compile(text, MAIN)
    }

    /// A kernel of a file that has several.
    pub(crate) fn kernel(
        &self,
        module: [&str; 2],
        entry: &'static str,
    ) -> Result<wgpu::ComputePipeline, Failed> {
        self.compile(&module.concat(), entry)
    }

    fn compile(&self, text: &str, entry: &'static str) -> Result<wgpu::ComputePipeline, Failed> {
        let key = (text.to_owned(), entry);
        if let Some(known) = lock(&self.pipelines).get(&key) {
            return Ok(known.clone());
        }
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&self.layout),
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every number is written before it is read.
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        });
        self.check()?;
        lock(&self.pipelines).insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// Buffers of so many numbers each, all of them 0, for so many calls in a submission.
    pub(crate) fn buffers(
        &self,
        numbers: [usize; BUFFERS],
        calls: usize,
    ) -> Result<Buffers, Failed> {
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let each = numbers.map(|numbers| self.buffer(4 * numbers.max(1), storage));
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let calls = self.buffer(CALL * calls, uniform);
        self.check()?;
        let call = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &calls,
            offset: 0,
            size: wgpu::BufferSize::new(size_of::<Call>() as u64),
        });
        let resources = core::iter::once(call).chain(each.iter().map(|b| b.as_entire_binding()));
        let entries: Vec<_> = (0..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.bindings,
            entries: &entries,
        });
        self.check()?;
        Ok(Buffers { each, calls, group })
    }

    fn buffer(&self, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes as u64,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Writes numbers to a buffer, from number `first` on.
    pub(crate) fn write<T: Pod>(
        &self,
        buffers: &Buffers,
        which: Which,
        first: usize,
        numbers: &[T],
    ) {
        self.upload(&buffers.each[which.0], 4 * first, bytemuck::cast_slice(numbers));
    }

    fn upload(&self, buffer: &wgpu::Buffer, first: usize, bytes: &[u8]) {
        let Some(size) = wgpu::BufferSize::new(bytes.len() as u64) else { return };
        // A device that is lost has no memory for it; the next call says so.
        if let Some(mut view) = self.queue.write_buffer_with(buffer, first as u64, size) {
            copy(bytes, view.slice(..));
        }
    }

    /// Takes all steps, then reads of a buffer so many numbers from one on.
    pub(crate) fn run(
        &self,
        buffers: &Buffers,
        steps: &[Step],
        (which, first, len): (Which, usize, usize),
    ) -> Result<Vec<f32>, Failed> {
        let mut calls = vec![0; CALL * steps.len()];
        for (bytes, step) in calls.chunks_exact_mut(CALL).zip(steps) {
            bytes[..size_of::<Call>()].copy_from_slice(bytemuck::bytes_of(&step.call));
        }
        self.upload(&buffers.calls, 0, &calls);
        for (n, steps) in steps.chunks(SUBMITTED).enumerate() {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for (i, Step { pipeline, groups: [x, y, z], .. }) in (n * SUBMITTED..).zip(steps) {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, &buffers.group, &[(CALL * i) as u32]);
                pass.dispatch_workgroups(*x, *y, *z);
            }
            drop(pass);
            self.queue.submit([encoder.finish()]);
        }
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let copy = self.buffer(4 * len, usage);
        let from = &buffers.each[which.0];
        encoder.copy_buffer_to_buffer(from, 4 * first as u64, &copy, 0, 4 * len as u64);
        self.queue.submit([encoder.finish()]);
        self.read(&copy)
    }

    /// The numbers of a buffer, once what was submitted is done.
    fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<f32>, Failed> {
        let (sender, receiver) = mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // Whoever no longer waits has found another error.
            let _ = sender.send(result);
        });
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        polled.map_err(|error| self.failed(error))?;
        match receiver.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.failed(error)),
            Err(error) => return Err(self.failed(error)),
        }
        let view = buffer.get_mapped_range(..).map_err(|error| self.failed(error))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }

    /// Loses the device.
    pub(crate) fn lose(&self) {
        self.device.destroy();
    }
}
