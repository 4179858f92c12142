//! Which model a node runs.

use embedded_io::Write;
use fluxlet::Model;
use fluxlet_slots::{Header, Refusal as Unread, Room, Slot, read};

use crate::line::{Line, tell};
use crate::node::Refusal;

/// The later of the models in the slots, or the other, or the built-in one: the first that can run on
/// readings of `channels` numbers in `memory_len` numbers of memory. Tells of those before it why they
/// cannot.
pub fn choose<'m>(
    slots: [&'m [u8]; 2],
    built_in: &'m [u8],
    channels: usize,
    memory_len: usize,
    port: &mut impl Write,
) -> Option<(Model<'m>, Option<Slot>)> {
    let [a, b] = slots;
    let mut in_order = [(Slot::A, a), (Slot::B, b)];
    if Header::read(b).is_some_and(|b| Header::read(a).is_none_or(|a| b.is_later_than(a))) {
        in_order.reverse();
    }
    for (slot, bytes) in in_order {
        match read(slot, bytes, Room::UNLIMITED) {
            Ok(stored) => match Refusal::of(&stored.model, channels, memory_len) {
                None => return Some((stored.model, Some(stored.slot))),
                Some(refusal) => tell(port, Line::Refused(&refusal)),
            },
            Err(Unread::Empty) => {}
            Err(unread) => tell(port, Line::Refused(&unread)),
        }
    }
    let refusal = match Model::new_checked(built_in) {
        Ok(model) => match Refusal::of(&model, channels, memory_len) {
            None => return Some((model, None)),
            Some(refusal) => refusal,
        },
        Err(error) => Refusal::Model(error),
    };
    tell(port, Line::Refused(&refusal));
    None
}
