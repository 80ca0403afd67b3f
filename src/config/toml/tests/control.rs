//! What is said of `[control]`.

use super::messages::{each_says, errors_of};

#[test]
fn what_is_wrong_with_the_control_section_is_said() {
    each_says(
        "[control]",
        &[
            (
                "socket = \"lvx.sock\"",
                "control: socket \"lvx.sock\" is no absolute path (allowed: such as \"/run/lvx/lvx.sock\")",
            ),
            (
                "mode = \"0888\"",
                "control: mode \"0888\" is out of range (allowed: such as \"0660\", permissions in octal digits)",
            ),
            (
                "mode = 660",
                "control: mode is the integer 660 (allowed: such as \"0660\", permissions in octal digits)",
            ),
            ("owner = -1", "control: owner -1 is out of range (allowed: 0 to 4294967294)"),
            ("group = \"\"", "control: group \"\" is empty (allowed: a name)"),
            ("watch = 1", "control: watch is the integer 1 (allowed: true or false)"),
            (
                "metrics = 9180",
                "control: metrics is the integer 9180 (allowed: an address with a port, such as \"127.0.0.1:9180\" or \"[::]:9180\")",
            ),
            (
                "server_histograms = \"allways\"",
                "control: server_histograms \"allways\" is unknown; did you mean \"always\"? (allowed: auto, always, never)",
            ),
            ("tls_key = \"/k\"", "control: tls_key is for listen, which is missing (allowed: together)"),
            (
                "sockets = 1",
                "control: key \"sockets\" is unknown; did you mean \"socket\"? (allowed: socket, mode, owner, \
              group, state_dir, watch, metrics, server_histograms, tls_certificate, tls_key, token_file, listen)",
            ),
        ],
    );
    let without_token = "[control]\nlisten = \"here\"\ntls_certificate = \"/c\"\ntls_key = \"k\"";
    assert_eq!(
        errors_of(without_token),
        [
            "control: token_file is missing",
            "control: listen \"here\" is no address with a port (allowed: such as \"127.0.0.1:9180\" or \"[::]:9180\")",
            "control: tls_key \"k\" is no absolute path (allowed: such as \"/run/lvx/lvx.sock\")",
        ]
    );
    let long = format!("[control]\nsocket = \"/{}\"", "x".repeat(100));
    assert_eq!(
        errors_of(&long),
        ["control: socket has 101 bytes (allowed: 100, as long as a socket's path may be)"]
    );
}
