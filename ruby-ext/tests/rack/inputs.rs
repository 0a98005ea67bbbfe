//! `rack.input` against a `File` of the same content: the same calls, the same results.

use std::io::Write;

use bytes::Bytes;
use magnus::Value;
use rackrs_ruby::exchange::{Body, Scheme};

use crate::{
    Case,
    driver::{Client, World, post, request},
};

pub(crate) const CASES: &[Case] = &[
    ("input: the collector knows its memory", counted),
    ("input: the same as a file", same_as_file),
    ("input: a large file", large),
    ("input: the rest of IO", rest),
    ("input: the end of a request", release),
];

/// Runs random calls on `$input` and a `File`, and says where they first differ.
const FUZZ: &str = r#"
def fuzz(input, path, seed, rounds)
  random = Random.new(seed)
  file = File.open(path, 'rb')
  size = file.size
  pick = ->(*all) { all[random.rand(all.size)] }
  number = -> { pick.(0, 1, 2, 3, 7, 100, 5000, 20_000, -1, size, size + 1, random.rand(size + 2)) }
  separator = -> { pick.("\n", "", "ab", nil, "\r\n", "b\n\n", "x") }
  rounds.times do |round|
    chomp = pick.({}, {}, {chomp: true})
    name, args, buffered = pick.(
      [:read, [], false], [:read, [nil], false], [:read, [number.()], false],
      [:read, [number.()], true], [:read, [nil], true], [:readpartial, [number.()], false],
      [:readpartial, [number.()], true], [:gets, [], false], [:gets, [separator.()], false],
      [:gets, [number.()], false], [:gets, [separator.(), number.()], false],
      [:gets, [separator.(), nil], false],
      [:readline, [separator.()], false], [:getbyte, [], false], [:readbyte, [], false],
      [:getc, [], false], [:rewind, [], false], [:seek, [number.()], false],
      [:seek, [number.(), pick.(0, 1, 2, :SET, :CUR, :END)], false], [:pos, [], false],
      [:eof?, [], false], [:pos=, [number.()], false], [:size, [], false],
      [:readlines, [separator.()], false], [:readlines, [separator.(), number.()], false],
      [:lines, [separator.()], false], [:lines, [separator.(), number.()], false],
    )
    # Ruby before 3.2 chomps the whole rest, too (its bug 18768).
    chomp = {} if args.first.nil?
    # A file forgets the limit when it comes in the middle of a separator.
    args[1] = 3 if args.size == 2 && args.first.is_a?(String) && [1, 2].include?(args[1])
    # Reading all is the end of what there is to compare.
    [input, file].each(&:rewind) if random.rand(8).zero?
    old = pick.('old', String.new('old'), "\u00e9t\u00e9", '')
    results = [input, file].map do |io|
      e = nil
      buffer = old.dup
      begin
        result =
          if name == :lines
            io.each(*args, **chomp).first(3)
          elsif buffered
            value = io.public_send(name, *args, buffer)
            value.equal?(buffer) ? [:same, value] : value
          elsif %i[gets readline readlines].include?(name)
            io.public_send(name, *args, **chomp)
          else
            io.public_send(name, *args)
          end
      rescue ArgumentError, EOFError, SystemCallError, IOError, TypeError, RangeError => e
        result = [e.class, e.message.sub(/ @ .*| - \S*\z/, '')]
      end
      strings = e ? [] : [result].flatten.grep(String)
      [result, strings.map(&:encoding), buffered && [buffer, buffer.encoding], io.pos]
    end
    if results[0] != results[1]
      return "seed #{seed} round #{round}: #{name}(#{args.inspect}, #{buffered}, #{chomp}) " \
             "gave #{results[0].inspect[0, 500]} not #{results[1].inspect[0, 500]}"
    end
  end
  nil
ensure
  file.close
end
"#;

const TEXTS: [&[u8]; 7] = [
    b"",
    b"\n",
    b"one\ntwo\r\nthree",
    b"\n\n\npara\nline\n\n\n\nnext\n\n",
    b"abxabab\n\nb\n\nab",
    // Not 0xff, which a file takes for the end of a limited read.
    b"\xfd\xfe\0\n\x80abc",
    b"no newline at all",
];

fn same_as_file(world: &World<'_>) {
    world.eval::<Value>(FUZZ);
    let mut lines = Vec::new();
    for index in 0..4000_u32 {
        lines.extend_from_slice(&b"line of some length "[..(index % 20) as usize]);
        lines.extend_from_slice(if index % 7 == 0 { b"\r\n\n" } else { b"\n" });
    }
    let texts = TEXTS.into_iter().map(<[u8]>::to_vec).chain([lines]);
    for (index, text) in texts.enumerate() {
        let rounds = if text.len() > 1000 { 300 } else { 600 };
        for is_file in [false, true] {
            for seed in 0..4 {
                let seed = index * 100 + seed;
                let file = temporary(&text);
                let body =
                    if is_file { file_body(&text) } else { Body::Memory(text.clone().into()) };
                let app = format!(
                    "->(env) {{ [200, {{}}, [fuzz(env['rack.input'], {:?}, {seed}, {rounds}).to_s]] }}",
                    file.path().to_str().unwrap(),
                );
                let (head, _) = request("POST", "/").into_parts();
                let app = world.app(&app);
                let (received, log) = world.logged(|| {
                    world.serve(&world.context, &app, (head, body, Scheme::Http), Client::Reads)
                });
                let difference = String::from_utf8_lossy(&received.body).into_owned();
                assert_eq!(difference, "", "text {index}, file {is_file}: {log}");
            }
        }
    }
}

fn temporary(text: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

fn file_body(text: &[u8]) -> Body {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    Body::File { file, len: text.len() as u64 }
}

fn large(world: &World<'_>) {
    let text: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    for code in [
        "env['rack.input'].read",
        "s = +''; while (c = env['rack.input'].read(1_000_003, b ||= +'')); s << c; end; s",
        "s = +''; while (c = env['rack.input'].read(100)); s << c; end; s",
        "s = +''; while (c = env['rack.input'].gets); s << c; end; s",
        "s = +''; env['rack.input'].each { |c| s << c }; s",
    ] {
        let app = world.app(&format!(
            "->(env) {{ b = nil; data = ({code}); [200, {{}}, [data.size.to_s, ' ', data.sum.to_s]] }}"
        ));
        let (head, _) = request("POST", "/").into_parts();
        let received = world.serve(
            &world.context,
            &app,
            (head, file_body(&text), Scheme::Http),
            Client::Reads,
        );
        let sum = text.iter().map(|&byte| u64::from(byte)).sum::<u64>() % 65536;
        assert_eq!(String::from_utf8_lossy(&received.body), format!("3000000 {sum}"), "{code}");
    }
}

fn rest(world: &World<'_>) {
    for (code, expected) in [
        ("i.close; i.closed?", "true"),
        ("i.close; i.close", "nil"),
        ("i.close; begin; i.read; rescue IOError => e; e.message; end", "\"closed stream\""),
        ("i.close; begin; i.gets; rescue IOError => e; e.message; end", "\"closed stream\""),
        ("i.close; begin; i.size; rescue IOError => e; e.message; end", "\"closed stream\""),
        ("i.read(3, 'abc'.freeze) rescue $!.class", "FrozenError"),
        ("i.read('x') rescue $!.class", "TypeError"),
        ("i.read(1, 2) rescue $!.class", "TypeError"),
        ("i.read(1, 2, 3) rescue $!.class", "ArgumentError"),
        ("i.read; i.read_nonblock(1, exception: false)", "nil"),
        ("i.read; i.read_nonblock(1) rescue $!.class", "EOFError"),
        ("i.external_encoding", "#<Encoding:ASCII-8BIT>"),
        ("i.binmode.equal?(i) && i.set_encoding('UTF-8').equal?(i)", "true"),
        ("i.respond_to?(:fileno) || i.respond_to?(:to_path)", "false"),
        ("i.each.to_a", "[\"one\\n\", \"two\"]"),
        ("i.each_line(0).first rescue $!.message", "\"invalid limit: 0 for each_line\""),
        ("i.gets; $_", "\"one\\n\""),
        ("i.each_byte.first(2)", "[111, 110]"),
        ("i.class.allocate rescue $!.class", "TypeError"),
        ("i.dup.read rescue $!.class", "TypeError"),
        ("Marshal.dump(i) rescue $!.class", "TypeError"),
        ("i.sync && i.size == 7 && !i.tty?", "true"),
    ] {
        let app =
            format!("->(env) {{ i = env['rack.input']; r = ({code}); [200, {{}}, [r.inspect]] }}");
        let (received, log) =
            world.logged(|| world.send(&world.context, &app, post(b"one\ntwo"), Client::Reads));
        let result = String::from_utf8_lossy(&received.body).into_owned();
        let result = result.replace("BINARY (ASCII-8BIT)", "ASCII-8BIT");
        assert_eq!(result, expected, "{code} {log}");
    }
}

fn release(world: &World<'_>) {
    let app = "->(env) { $input = env['rack.input']; [200, {}, []] }";
    world.send(&world.context, app, post(b"abc"), Client::Reads);
    assert_eq!(world.eval::<String>("$input.read"), "abc");
    let loaded = world.app(app);
    let (head, _) = request("POST", "/").into_parts();
    let body = file_body(&Bytes::from_static(b"abc"));
    world.serve(&world.context, &loaded, (head, body, Scheme::Http), Client::Reads);
    assert!(world.eval::<bool>("$input.closed?"));
}

/// Bodies that nobody reads must make the collector run, as Strings would.
fn counted(world: &World<'_>) {
    const BYTES: usize = 1 << 20;
    static BODY: [u8; BYTES] = [b'x'; BYTES];
    world.eval::<Value>("GC.start; GC.disable; $before = GC.stat(:malloc_increase_bytes)");
    world.send(&world.context, "->(env) { [200, {}, []] }", post(&BODY), Client::Reads);
    let increase: usize = world.eval("GC.stat(:malloc_increase_bytes) - $before");
    world.eval::<Value>("GC.enable; GC.start");
    assert!(increase >= BYTES, "{increase}");
}
