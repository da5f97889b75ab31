//! A small DNS server: answers over UDP what a test says, in the wire format of RFC 1035 and 2782.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;

const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// What is said of a name and a type.
#[derive(Clone)]
pub(crate) enum Says {
    Addresses(Vec<IpAddr>),
    /// Priority, weight, port, target.
    Services(Vec<(u16, u16, u16, &'static str)>),
    /// "I cannot say."
    Failure,
    /// Nothing.
    Silence,
}

type Names = Arc<Mutex<HashMap<(String, u16), Says>>>;

#[derive(Clone)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    names: Names,
    asked: Arc<Mutex<usize>>,
    _serving: Arc<AbortOnDropHandle<()>>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (names, asked): (Names, Arc<Mutex<usize>>) = Default::default();
        let (known, counted) = (Arc::clone(&names), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = Question::read(&buffer[..length]);
                let says = known.lock().unwrap().get(&(question.name.clone(), question.kind)).cloned();
                *counted.lock().unwrap() += 1;
                if let Some(answer) = question.answer(says) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, names, asked, _serving: Arc::new(AbortOnDropHandle::new(serving)) }
    }

    pub(crate) fn say(&self, name: &str, kind: u16, says: Says) {
        self.names.lock().unwrap().insert((name.to_owned(), kind), says);
    }

    /// From now on there is no such name.
    pub(crate) fn forget(&self, name: &str, kind: u16) {
        self.names.lock().unwrap().remove(&(name.to_owned(), kind));
    }

    /// Questions so far.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

struct Question<'a> {
    id: &'a [u8],
    name: String,
    kind: u16,
    /// As it came, to be sent back.
    bytes: &'a [u8],
}

impl<'a> Question<'a> {
    fn read(packet: &'a [u8]) -> Self {
        let (mut at, mut labels) = (12, Vec::new());
        while packet[at] != 0 {
            let length = usize::from(packet[at]);
            labels.push(String::from_utf8(packet[at + 1..=at + length].to_vec()).unwrap().to_lowercase());
            at += length + 1;
        }
        let kind = u16::from_be_bytes([packet[at + 1], packet[at + 2]]);
        Self { id: &packet[..2], name: labels.join("."), kind, bytes: &packet[12..at + 5] }
    }

    fn answer(&self, says: Option<Says>) -> Option<Vec<u8>> {
        let (code, records) = match says {
            Some(Says::Silence) => return None,
            Some(Says::Failure) => (SERVER_FAILURE, Vec::new()),
            Some(Says::Addresses(addresses)) => (NO_ERROR, addresses.iter().map(address).collect()),
            Some(Says::Services(services)) => (NO_ERROR, services.iter().map(service).collect()),
            None => (NO_SUCH_NAME, Vec::new()),
        };
        let mut packet = self.id.to_vec();
        // A response, authoritative, recursion desired and available; one question, so many answers.
        packet.extend([0x85, 0x80 | code, 0, 1, 0]);
        packet.push(u8::try_from(records.len()).unwrap());
        packet.extend([0, 0, 0, 0]);
        packet.extend(self.bytes);
        for (kind, data) in records {
            // The name is the question's, by a pointer; class IN; no time to live.
            packet.extend([0xc0, 12]);
            packet.extend(u16::to_be_bytes(kind));
            packet.extend([0, 1, 0, 0, 0, 0]);
            packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            packet.extend(data);
        }
        Some(packet)
    }
}

fn address(address: &IpAddr) -> (u16, Vec<u8>) {
    match address {
        IpAddr::V4(ip) => (A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
    }
}

fn service((priority, weight, port, target): &(u16, u16, u16, &'static str)) -> (u16, Vec<u8>) {
    let mut data: Vec<u8> = [*priority, *weight, *port].into_iter().flat_map(u16::to_be_bytes).collect();
    for label in target.split('.') {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend(label.bytes());
    }
    data.push(0);
    (SRV, data)
}
