//! ipvsadm's commands and options: how they are written, what they are called in messages, and which go together.

use super::request::Forward;
use super::words::{Spelling, Takes};
use crate::net::Proto;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Edit,
    Delete,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
    Help,
    Version,
}

impl Command {
    /// Its name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Command::Add => "add-service",
            Command::Edit => "edit-service",
            Command::Delete => "delete-service",
            Command::Flush => "flush",
            Command::List => "list",
            Command::AddServer => "add-server",
            Command::DeleteServer => "delete-server",
            Command::EditServer => "edit-server",
            Command::Set => "set",
            Command::StartDaemon => "start-daemon",
            Command::StopDaemon => "stop-daemon",
            Command::Restore => "restore",
            Command::Save => "save",
            Command::Zero => "zero",
            Command::Help => "help",
            Command::Version => "version",
        }
    }

    /// What it makes of an option. The table of ipvsadm(8):
    ///
    /// ```text
    ///                 must have         may have                                                 one of
    /// -A -E           service           -s -p -M -o --pe -b
    /// -D              service
    /// -a -e           service, -r       -g -i -m -w -x -y --tun-type --tun-port --tun-*csum
    /// -d              service, -r
    /// -L                                -n --stats --rate --thresholds --persistent-conn         service -c
    ///                                   --nosort --exact --tun-info --syncid                     --timeout --daemon
    /// -S                                -n
    /// -Z                                service
    /// --start-daemon                    --syncid --sync-maxlen --mcast-*
    /// --stop-daemon                     --syncid
    /// ```
    pub(super) fn judges(self, option: Optional) -> Judgement {
        use Judgement::{Exclusive, Fine, Illegal, Needed};
        use Optional as O;
        let is_of_service = matches!(
            option,
            O::Scheduler | O::Persistent | O::Netmask | O::OnePacket | O::Engine | O::SchedulerFlags
        );
        let is_of_server = option.is_of_tunnel()
            || matches!(option, O::Forward | O::Weight | O::UpperThreshold | O::LowerThreshold);
        match (self, option) {
            (Command::Add | Command::Edit | Command::Delete, O::Service) => Needed,
            (Command::AddServer | Command::EditServer | Command::DeleteServer, O::Service | O::Server) => {
                Needed
            }
            (Command::List, O::Service | O::Connection | O::Timeout | O::Daemon) => Exclusive,
            (Command::Add | Command::Edit, _) if is_of_service => Fine,
            (Command::AddServer | Command::EditServer, _) if is_of_server => Fine,
            (Command::List | Command::Save, O::Numeric) | (Command::Zero, O::Service) => Fine,
            (Command::List, O::Stats | O::Rate | O::Thresholds | O::PersistentConn) => Fine,
            (Command::List, O::NoSort | O::Exact | O::TunnelInfo | O::SyncId) => Fine,
            (Command::StartDaemon | Command::StopDaemon, O::SyncId) => Fine,
            (Command::StartDaemon, O::McastInterface | O::McastGroup | O::McastPort | O::McastTtl) => Fine,
            (Command::StartDaemon, O::SyncMaxlen) => Fine,
            _ => Illegal,
        }
    }
}

pub(super) enum Judgement {
    Needed,
    Fine,
    Exclusive,
    Illegal,
}

/// Whatever may stand beside a command, in the order in which it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Optional {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    Server,
    Forward,
    Weight,
    UpperThreshold,
    LowerThreshold,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    NoSort,
    SyncId,
    Exact,
    OnePacket,
    Engine,
    SchedulerFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunnelInfo,
    TunnelType,
    TunnelPort,
    TunnelNoCsum,
    TunnelCsum,
    TunnelRemCsum,
}

/// Each with its name in messages.
pub(super) const OPTIONALS: [(Optional, &str); 34] = [
    (Optional::Numeric, "numeric"),
    (Optional::Connection, "connection"),
    (Optional::Service, "service-address"),
    (Optional::Scheduler, "scheduler"),
    (Optional::Persistent, "persistent"),
    (Optional::Netmask, "netmask"),
    (Optional::Server, "real-server"),
    (Optional::Forward, "forwarding-method"),
    (Optional::Weight, "weight"),
    (Optional::UpperThreshold, "u-threshold"),
    (Optional::LowerThreshold, "l-threshold"),
    (Optional::McastInterface, "mcast-interface"),
    (Optional::Timeout, "timeout"),
    (Optional::Daemon, "daemon"),
    (Optional::Stats, "stats"),
    (Optional::Rate, "rate"),
    (Optional::Thresholds, "thresholds"),
    (Optional::PersistentConn, "persistent-conn"),
    (Optional::NoSort, "nosort"),
    (Optional::SyncId, "syncid"),
    (Optional::Exact, "exact"),
    (Optional::OnePacket, "ops"),
    (Optional::Engine, "pe"),
    (Optional::SchedulerFlags, "sched-flags"),
    (Optional::McastGroup, "mcast-group"),
    (Optional::McastPort, "mcast-port"),
    (Optional::McastTtl, "mcast-ttl"),
    (Optional::SyncMaxlen, "sync-maxlen"),
    (Optional::TunnelInfo, "tun-info"),
    (Optional::TunnelType, "tun-type"),
    (Optional::TunnelPort, "tun-port"),
    (Optional::TunnelNoCsum, "tun-nocsum"),
    (Optional::TunnelCsum, "tun-csum"),
    (Optional::TunnelRemCsum, "tun-remcsum"),
];

impl Optional {
    pub(super) fn name(self) -> &'static str {
        OPTIONALS[self as usize].1
    }

    fn is_of_tunnel(self) -> bool {
        use Optional as O;
        matches!(self, O::TunnelType | O::TunnelPort | O::TunnelNoCsum | O::TunnelCsum | O::TunnelRemCsum)
    }
}

/// What an option on the command line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Command(Command),
    Service(Proto),
    Fwmark,
    Ipv6,
    Forward(Forward),
    /// `--sort`: what is done anyway.
    Sort,
    /// Any other, with or without its argument.
    Option(Optional),
}

const fn spelling(
    long: &'static str,
    short: Option<char>,
    takes: Takes,
    means: Meaning,
) -> Spelling<Meaning> {
    Spelling { long, short, takes, means }
}

/// Every option that there is.
pub(super) const SPELLINGS: &[Spelling<Meaning>] = {
    use Meaning as M;
    use Optional as O;
    use Takes::{Argument, Nothing, Perhaps};
    &[
        spelling("add-service", Some('A'), Nothing, M::Command(Command::Add)),
        spelling("edit-service", Some('E'), Nothing, M::Command(Command::Edit)),
        spelling("delete-service", Some('D'), Nothing, M::Command(Command::Delete)),
        spelling("clear", Some('C'), Nothing, M::Command(Command::Flush)),
        spelling("list", Some('L'), Nothing, M::Command(Command::List)),
        spelling("list", Some('l'), Nothing, M::Command(Command::List)),
        spelling("zero", Some('Z'), Nothing, M::Command(Command::Zero)),
        spelling("add-server", Some('a'), Nothing, M::Command(Command::AddServer)),
        spelling("edit-server", Some('e'), Nothing, M::Command(Command::EditServer)),
        spelling("delete-server", Some('d'), Nothing, M::Command(Command::DeleteServer)),
        spelling("set", None, Nothing, M::Command(Command::Set)),
        spelling("help", Some('h'), Nothing, M::Command(Command::Help)),
        spelling("version", Some('v'), Nothing, M::Command(Command::Version)),
        spelling("restore", Some('R'), Nothing, M::Command(Command::Restore)),
        spelling("save", Some('S'), Nothing, M::Command(Command::Save)),
        spelling("start-daemon", None, Argument, M::Command(Command::StartDaemon)),
        spelling("stop-daemon", None, Argument, M::Command(Command::StopDaemon)),
        spelling("tcp-service", Some('t'), Argument, M::Service(Proto::Tcp)),
        spelling("udp-service", Some('u'), Argument, M::Service(Proto::Udp)),
        spelling("sctp-service", None, Argument, M::Service(Proto::Sctp)),
        spelling("fwmark-service", Some('f'), Argument, M::Fwmark),
        spelling("scheduler", Some('s'), Argument, M::Option(O::Scheduler)),
        spelling("persistent", Some('p'), Perhaps, M::Option(O::Persistent)),
        spelling("netmask", Some('M'), Argument, M::Option(O::Netmask)),
        spelling("real-server", Some('r'), Argument, M::Option(O::Server)),
        spelling("masquerading", Some('m'), Nothing, M::Forward(Forward::Masq)),
        spelling("ipip", Some('i'), Nothing, M::Forward(Forward::Tunnel)),
        spelling("gatewaying", Some('g'), Nothing, M::Forward(Forward::Route)),
        spelling("weight", Some('w'), Argument, M::Option(O::Weight)),
        spelling("u-threshold", Some('x'), Argument, M::Option(O::UpperThreshold)),
        spelling("l-threshold", Some('y'), Argument, M::Option(O::LowerThreshold)),
        spelling("numeric", Some('n'), Nothing, M::Option(O::Numeric)),
        spelling("connection", Some('c'), Nothing, M::Option(O::Connection)),
        spelling("mcast-interface", None, Argument, M::Option(O::McastInterface)),
        spelling("syncid", None, Argument, M::Option(O::SyncId)),
        spelling("timeout", None, Nothing, M::Option(O::Timeout)),
        spelling("daemon", None, Nothing, M::Option(O::Daemon)),
        spelling("stats", None, Nothing, M::Option(O::Stats)),
        spelling("rate", None, Nothing, M::Option(O::Rate)),
        spelling("thresholds", None, Nothing, M::Option(O::Thresholds)),
        spelling("persistent-conn", None, Nothing, M::Option(O::PersistentConn)),
        spelling("nosort", None, Nothing, M::Option(O::NoSort)),
        spelling("sort", None, Nothing, M::Sort),
        spelling("exact", Some('X'), Nothing, M::Option(O::Exact)),
        spelling("ipv6", Some('6'), Nothing, M::Ipv6),
        spelling("ops", Some('o'), Nothing, M::Option(O::OnePacket)),
        spelling("pe", None, Argument, M::Option(O::Engine)),
        spelling("sched-flags", Some('b'), Argument, M::Option(O::SchedulerFlags)),
        spelling("mcast-group", None, Argument, M::Option(O::McastGroup)),
        spelling("mcast-port", None, Argument, M::Option(O::McastPort)),
        spelling("mcast-ttl", None, Argument, M::Option(O::McastTtl)),
        spelling("sync-maxlen", None, Argument, M::Option(O::SyncMaxlen)),
        spelling("tun-info", None, Nothing, M::Option(O::TunnelInfo)),
        spelling("tun-type", None, Argument, M::Option(O::TunnelType)),
        spelling("tun-port", None, Argument, M::Option(O::TunnelPort)),
        spelling("tun-nocsum", None, Nothing, M::Option(O::TunnelNoCsum)),
        spelling("tun-csum", None, Nothing, M::Option(O::TunnelCsum)),
        spelling("tun-remcsum", None, Nothing, M::Option(O::TunnelRemCsum)),
    ]
};
