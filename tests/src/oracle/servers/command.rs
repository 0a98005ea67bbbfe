//! Each server's configuration and command line.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{kind::Kind, running::Setup};
use crate::{
    app,
    oracle::{mix::LONG_CLIENTS_MAX, restart::Subject},
};

/// Processes that Unicorn needs beside those that long requests hold.
const UNICORN_SPARE_WORKERS: u16 = 3;

/// The command that starts a server in its folder; writes its configuration there.
pub(super) fn command(
    kind: Kind,
    setup: &Setup,
    folder: &Path,
    subject: &Subject,
) -> io::Result<Command> {
    let (program, arguments) = match kind {
        Kind::Rackrs => (setup.rackrs.clone(), rackrs(setup, subject)),
        Kind::Puma | Kind::PumaPhased => puma(setup, folder, subject, "")?,
        Kind::PumaPreload => puma(setup, folder, subject, "preload_app!\n")?,
        Kind::Unicorn => unicorn(setup, folder, subject, false)?,
        Kind::UnicornHup => unicorn(setup, folder, subject, true)?,
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", folder)
        .env("PWD", folder)
        .env("FOLDER", folder)
        .env("BOOT_SECONDS", setup.boot_time.as_secs_f64().to_string());
    Ok(command)
}

fn rackrs(setup: &Setup, subject: &Subject) -> Vec<OsString> {
    let mut arguments = vec![
        "-e".into(),
        "production".into(),
        "-w".into(),
        setup.workers.to_string().into(),
        "-t".into(),
        format!("{0}:{0}", setup.threads).into(),
        "--pidfile".into(),
        subject.pid_file.clone().into_os_string(),
    ];
    for address in &subject.addresses {
        arguments.extend(["-b".into(), address.to_string().into()]);
    }
    arguments.push(app("release.ru").into_os_string());
    arguments
}

fn puma(
    setup: &Setup,
    folder: &Path,
    subject: &Subject,
    more: &str,
) -> io::Result<(PathBuf, Vec<OsString>)> {
    let Setup { workers, threads, .. } = setup;
    let binds = lines(subject, |address| format!("bind '{address}'"));
    let text = format!(
        "environment 'production'\nrackup '{}'\npidfile '{}'\nworkers {workers}\n\
         threads {threads}, {threads}\n{binds}{more}",
        app("release.ru").display(),
        subject.pid_file.display(),
    );
    let file = folder.join("puma.rb");
    fs::write(&file, text)?;
    Ok(("/usr/bin/puma".into(), vec!["-C".into(), file.into()]))
}

fn unicorn(
    setup: &Setup,
    folder: &Path,
    subject: &Subject,
    preload: bool,
) -> io::Result<(PathBuf, Vec<OsString>)> {
    let listens = lines(subject, |address| {
        // Unicorn knows no scheme.
        let plain = address.strip_prefix("unix://").or(address.strip_prefix("tcp://"));
        format!("listen '{}'", plain.unwrap_or(address))
    });
    let text = format!(
        "working_directory '{}'\npid '{}'\nworker_processes {}\npreload_app {preload}\n{listens}",
        folder.display(),
        subject.pid_file.display(),
        setup.workers.max(LONG_CLIENTS_MAX + UNICORN_SPARE_WORKERS),
    );
    let file = folder.join("unicorn.rb");
    fs::write(&file, text)?;
    let arguments = ["-E".into(), "production".into(), "-c".into(), file.into()];
    let arguments = arguments.into_iter().chain([app("release.ru").into_os_string()]).collect();
    Ok(("/usr/bin/unicorn".into(), arguments))
}

/// A line of a configuration for each address.
fn lines(subject: &Subject, line: fn(&str) -> String) -> String {
    let lines: Vec<_> =
        subject.addresses.iter().map(|address| line(&address.to_string()) + "\n").collect();
    lines.concat()
}
