//! The fence around libbpf (the one that libxdp brings): objects, maps, links and program runs as safe values.
//!
//! Everything here ends with the process: maps and programs by their descriptors, an attached program by its link.
//! Nothing is pinned. libbpf's own messages go to `tracing` at debug.

#![allow(unsafe_code)]

use libxdp_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Once;
use std::sync::atomic::AtomicU64;

/// Where in the receive path a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// In the driver, before the kernel has made a socket buffer.
    Native,
    /// In the stack, for every driver; after the socket buffer was made.
    Generic,
}

impl Hook {
    fn flags(self) -> u32 {
        match self {
            // XDP_FLAGS_DRV_MODE and XDP_FLAGS_SKB_MODE of linux/if_link.h, which libxdp-sys leaves out.
            Hook::Native => 1 << 2,
            Hook::Generic => 1 << 1,
        }
    }
}

/// A loaded object: its programs and maps.
#[derive(Debug)]
pub struct Object {
    raw: NonNull<sys::bpf_object>,
}

// SAFETY: a bpf_object has no tie to the thread that made it, and `Object` is not Sync or Clone.
unsafe impl Send for Object {}

impl Object {
    /// Loads the object file `bytes` into the kernel: creates its maps and verifies its programs.
    ///
    /// # Errors
    /// As the kernel's: EPERM without CAP_BPF and CAP_NET_ADMIN.
    pub fn load(name: &str, bytes: &[u8]) -> io::Result<Object> {
        route_messages();
        lift_memlock();
        let name = CString::new(name)?;
        // SAFETY: all of the struct's fields may be zero, "not given".
        let mut options: sys::bpf_object_open_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of_val(&options);
        options.object_name = name.as_ptr();
        // SAFETY: buffer, length and options belong together and outlive the call; libbpf copies them.
        let raw = unsafe { sys::bpf_object__open_mem(bytes.as_ptr().cast(), bytes.len(), &options) };
        let object = Object { raw: NonNull::new(raw).ok_or_else(io::Error::last_os_error)? };
        // SAFETY: the object was opened just above and not loaded yet.
        check(unsafe { sys::bpf_object__load(object.raw.as_ptr()) })?;
        Ok(object)
    }

    /// The map of this name.
    ///
    /// # Errors
    /// NotFound if the object has none.
    pub fn map(&self, name: &CStr) -> io::Result<Map> {
        // SAFETY: the object lives, the name is terminated.
        let raw = unsafe { sys::bpf_object__find_map_by_name(self.raw.as_ptr(), name.as_ptr()) };
        if raw.is_null() {
            return Err(missing("map", name));
        }
        // SAFETY: the map belongs to this object, which is loaded; the descriptor stays the object's.
        let (fd, key_bytes, value_bytes, entries) = unsafe {
            (
                duplicate(sys::bpf_map__fd(raw))?,
                sys::bpf_map__key_size(raw) as usize,
                sys::bpf_map__value_size(raw) as usize,
                sys::bpf_map__max_entries(raw) as usize,
            )
        };
        Ok(Map { fd, key_bytes, value_bytes, entries })
    }

    /// The program of this name.
    ///
    /// # Errors
    /// NotFound if the object has none.
    pub fn program(&self, name: &CStr) -> io::Result<Program> {
        // SAFETY: the object lives, the name is terminated.
        let raw = unsafe { sys::bpf_object__find_program_by_name(self.raw.as_ptr(), name.as_ptr()) };
        if raw.is_null() {
            return Err(missing("program", name));
        }
        // SAFETY: the program belongs to this object, which is loaded.
        Ok(Program { fd: duplicate(unsafe { sys::bpf_program__fd(raw) })? })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: opened in `load`, closed only here. Maps and programs taken from it have descriptors of their own.
        unsafe { sys::bpf_object__close(self.raw.as_ptr()) }
    }
}

/// A map of the kernel's, keyed and valued by plain bytes.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
    entries: usize,
}

impl Map {
    /// A second handle on the same map.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Map> {
        Ok(Map { fd: self.fd.try_clone()?, ..*self })
    }

    /// Puts `value` at `key`, whether or not there was one.
    ///
    /// # Errors
    /// As bpf(2): E2BIG if the map is full.
    ///
    /// # Panics
    /// If key or value are not as long as the map's.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!((key.len(), value.len()), (self.key_bytes, self.value_bytes), "as the map was declared");
        let fd = self.fd.as_raw_fd();
        // SAFETY: the kernel reads key_bytes and value_bytes, which the slices have.
        check(unsafe { sys::bpf_map_update_elem(fd, key.as_ptr().cast(), value.as_ptr().cast(), 0) })
    }

    /// Removes `key`; that it was not there is no error.
    ///
    /// # Errors
    /// As bpf(2).
    ///
    /// # Panics
    /// If the key is not as long as the map's.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        assert_eq!(key.len(), self.key_bytes, "as the map was declared");
        // SAFETY: the kernel reads key_bytes, which the slice has.
        match check(unsafe { sys::bpf_map_delete_elem(self.fd.as_raw_fd(), key.as_ptr().cast()) }) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }

    /// Maps the values of a BPF_F_MMAPABLE array into this process.
    ///
    /// # Errors
    /// As mmap(2): EINVAL or EPERM for a map that was not declared so.
    pub fn words(&self) -> io::Result<Words> {
        let stride = self.value_bytes.next_multiple_of(8);
        let bytes = self.entries * stride;
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, self.fd.as_raw_fd());
        // SAFETY: a new mapping, placed by the kernel.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Words { base, bytes, stride })
    }
}

/// The memory of an array map. Programs and this process see each other's writes at once.
#[derive(Debug)]
pub struct Words {
    base: NonNull<u8>,
    bytes: usize,
    stride: usize,
}

// SAFETY: plain shared memory, reached only as atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// The first eight bytes of the value at `index`.
    ///
    /// # Panics
    /// If the array is shorter.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index * self.stride < self.bytes, "the array has such an entry");
        // SAFETY: inside the mapping, which lives as long as `self`; a stride is a multiple of 8, so it is aligned;
        // the program reads it as one 8-byte load, and no one makes a plain reference to it.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(index * self.stride).cast()) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: mapped in `Map::words` with this length; no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A verified program.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

/// An attached program. Dropped, or with the process, it is detached.
#[derive(Debug)]
pub struct Link {
    _fd: OwnedFd,
}

impl Program {
    /// Attaches the XDP program to the interface of this index through a BPF link.
    ///
    /// # Errors
    /// As bpf(2): EBUSY or EEXIST if there is a program already; EOPNOTSUPP, ERANGE or EINVAL if the driver will
    /// not have it.
    pub fn attach_xdp(&self, ifindex: u32, hook: Hook) -> io::Result<Link> {
        // SAFETY: all of the struct's fields may be zero, "not given".
        let mut options: sys::bpf_link_create_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of_val(&options);
        options.flags = hook.flags();
        let program = self.fd.as_raw_fd();
        // SAFETY: a descriptor that we hold, and options that outlive the call.
        let fd = unsafe {
            sys::bpf_link_create(program, ifindex as c_int, sys::bpf_attach_type_BPF_XDP, &options)
        };
        check(fd.min(0))?;
        // SAFETY: a new descriptor that nobody else knows.
        Ok(Link { _fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Runs the XDP program on a live copy of `frame`, as if it had been received on queue `queue` of interface
    /// `ifindex`; what the program then says (pass, redirect) is carried out.
    ///
    /// # Errors
    /// As bpf(2): EINVAL for a frame shorter than an Ethernet header or longer than about 3,300 bytes, or for a
    /// kernel before 5.18; ENODEV without such an interface.
    pub fn run_live(&self, frame: &[u8], ifindex: u32, queue: u32) -> io::Result<()> {
        self.run_live_times(frame, ifindex, queue, 1)
    }

    /// The same, so many times in one call, 64 frames at once. A frame comes back when the kernel is done with it,
    /// and then has what the program, or whoever got it, has written into it.
    ///
    /// # Errors
    /// As [`Program::run_live`]; EINTR when a signal came first.
    pub fn run_live_times(&self, frame: &[u8], ifindex: u32, queue: u32, times: u32) -> io::Result<()> {
        let context = sys::xdp_md {
            data: 0,
            data_end: frame.len() as u32,
            data_meta: 0,
            ingress_ifindex: ifindex,
            rx_queue_index: queue,
            egress_ifindex: 0,
        };
        // SAFETY: all of the struct's fields may be zero, "not given".
        let mut options: sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of_val(&options);
        options.data_in = frame.as_ptr().cast();
        options.data_size_in = frame.len() as u32;
        options.ctx_in = ptr::from_ref(&context).cast();
        options.ctx_size_in = size_of_val(&context) as u32;
        options.repeat = times as c_int;
        options.batch_size = times.min(64);
        options.flags = sys::BPF_F_TEST_XDP_LIVE_FRAMES;
        // SAFETY: a descriptor that we hold; the kernel copies frame and context, which outlive the call.
        check(unsafe { sys::bpf_prog_test_run_opts(self.fd.as_raw_fd(), &mut options) })
    }
}

/// The id and name of the XDP program on an interface, if there is one and it can be asked for.
pub fn attached_xdp(ifindex: u32) -> Option<(u32, String)> {
    let mut id = 0;
    // SAFETY: `id` is written before the call returns.
    check(unsafe { sys::bpf_xdp_query_id(ifindex as c_int, 0, &mut id) }).ok()?;
    if id == 0 {
        return None;
    }
    // SAFETY: takes no pointers.
    let fd = unsafe { sys::bpf_prog_get_fd_by_id(id) };
    if fd < 0 {
        return Some((id, String::new()));
    }
    // SAFETY: a new descriptor that nobody else knows.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all of the struct's fields may be zero, "no buffer given".
    let mut info: sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut bytes = size_of_val(&info) as u32;
    // SAFETY: `info` has the length given and outlives the call.
    let asked = check(unsafe { sys::bpf_prog_get_info_by_fd(fd.as_raw_fd(), &mut info, &mut bytes) });
    let name: Vec<u8> = info.name.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    Some((id, if asked.is_ok() { String::from_utf8_lossy(&name).into_owned() } else { String::new() }))
}

/// Locked memory is what kernels before 5.11 charge maps to, and every kernel a UMEM; the usual limit of 8 MB or
/// less fits neither. Best effort: whoever may not lift it learns so from the ENOMEM or ENOBUFS that follows.
pub fn lift_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one struct.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) } != 0 {
        tracing::debug!("RLIMIT_MEMLOCK stays as it is: {}", io::Error::last_os_error());
    }
}

/// libbpf answers with a negative error number.
fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

fn missing(what: &str, name: &CStr) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("the BPF object has no {what} {}", name.to_string_lossy()),
    )
}

fn duplicate(fd: c_int) -> io::Result<OwnedFd> {
    check(fd.min(0))?;
    // SAFETY: takes no pointers.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

type Print = unsafe extern "C" fn(level: c_int, format: *const c_char, arguments: *mut c_void) -> c_int;

unsafe extern "C" {
    // Not among libxdp-sys's bindings, but in the library that it links.
    fn libbpf_set_print(print: Option<Print>) -> Option<Print>;
    // As of stdio.h, with the va_list passed on as we got it.
    fn vsnprintf(to: *mut c_char, bytes: usize, format: *const c_char, arguments: *mut c_void) -> c_int;
}

fn route_messages() {
    static ONCE: Once = Once::new();
    // A va_list argument is a pointer in the C ABIs of these two; elsewhere libbpf says nothing.
    let print = cfg!(any(target_arch = "x86_64", target_arch = "aarch64")).then_some(message as Print);
    // SAFETY: `message` has the signature that libbpf asks for and lives for ever.
    ONCE.call_once(|| unsafe {
        libbpf_set_print(print);
    });
}

unsafe extern "C" fn message(_level: c_int, format: *const c_char, arguments: *mut c_void) -> c_int {
    let mut text = [0u8; 512];
    // SAFETY: format and arguments are libbpf's and belong together; the text is cut to fit and terminated.
    unsafe { vsnprintf(text.as_mut_ptr().cast(), text.len(), format, arguments) };
    if let Ok(text) = CStr::from_bytes_until_nul(&text) {
        tracing::debug!(target: "libbpf", "{}", text.to_string_lossy().trim_end());
    }
    0
}
