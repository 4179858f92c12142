//! Which GPUs this machine has.

use core::fmt;

/// A GPU, or a program that stands in for one.
#[derive(Clone)]
pub struct Adapter {
    /// What its maker calls it.
    pub name: String,
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// Through which interface it is reached, and by which driver.
    pub driver: String,
    /// Bytes of the largest buffer that it gives out.
    pub largest_buffer: u64,
    pub(crate) adapter: wgpu::Adapter,
}

/// Kinds of adapters, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A part of another machine's GPU, or of a kind that says nothing of itself.
    Other,
    /// A program on the processor: right, and slower than the trainer's own way there.
    Software,
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Other => "other",
            Self::Software => "software",
        })
    }
}

/// Every adapter of this machine, the fastest kind first.
pub fn adapters() -> Vec<Adapter> {
    let backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut found: Vec<Adapter> = pollster::block_on(instance.enumerate_adapters(backends))
        .into_iter()
        .map(described)
        .collect();
    found.sort_by_key(|adapter| adapter.kind);
    found
}

fn described(adapter: wgpu::Adapter) -> Adapter {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => AdapterKind::Other,
    };
    let driver = [info.backend.to_str(), &info.driver, &info.driver_info]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ");
    let largest_buffer = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    Adapter { name: info.name, kind, driver, largest_buffer, adapter }
}
