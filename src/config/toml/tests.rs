use super::parse;

#[test]
fn probe() {
    for (i, text) in [
        "[[interface]]\nname = \"eth0\"\n[director]\nworkers = \"x\"\nfoo=1\n[[virtual_service]]\nname=\"web\"\n  [[virtual_service.real_server]]\n weight = 70000\n",
        "interface = 1\n",
        "[interface]\nname=\"x\"\n",
        "x = @\n[[interface]\nname = 'a\nb = 1\nb = 2\n",
        "",
        "[[interface]]\nname = \"eth0\"\nname = \"eth0\"\n",
        "director.timeouts.tcp = 0\ninterface = [{name=\"a\"},{name=\"a\"}]\n virtual_service = [3, {}]",
        "\u{feff}x = 1",
        "x = 1\r\n\u{0}\n\n'''",
    ]
    .iter()
    .enumerate()
    {
        match parse(&format!("{i}.toml"), text) {
            Ok(c) => println!("{c:?}"),
            Err(e) => println!("{e}"),
        }
    }
}
