//! Programs that were not written for sealift, each doing what its users do, whatever the
//! endpoint stands in front of.

use std::{fs, path::Path};

use super::{
    endpoint::{TIME_MAX, rclone, text},
    fronted::{AT_STORE, InFront, send},
};
use crate::support::{BUCKET, Content, Moto, S3, run_program, wait_until, write_file};

fn path(key: &str) -> String {
    format!("/{BUCKET}/{key}")
}

/// A folder is brought, found the same, changed, moved about and taken back.
pub(super) fn rclone_syncs(s3: &S3, dir: &Path) {
    let (folder, back) = (dir.join("folder"), dir.join("back"));
    fs::create_dir_all(folder.join("dir/deep")).unwrap();
    Content::new(3, 23 << 20).write(&folder.join("large"));
    for name in ["a", "dir/b ä+%", "dir/deep/c"] {
        write_file(&folder.join(name), name);
    }
    let remote = format!(
        ":s3,provider=Other,env_auth=false,force_path_style=true,upload_cutoff=8M,chunk_size=5M,\
         access_key_id={},secret_access_key={},endpoint='http://{}':{BUCKET}",
        s3.id, s3.secret, s3.address
    );
    let (folder, back) = (text(&folder), text(&back));
    rclone(&["sync", &folder, &remote], &[0]);
    rclone(&["check", "--download", &folder, &remote], &[0]);
    fs::remove_file(format!("{folder}/a")).unwrap();
    write_file(
        std::path::Path::new(&format!("{folder}/dir/deep/c")),
        "changed",
    );
    rclone(&["sync", &folder, &remote], &[0]);
    rclone(&["check", "--download", &folder, &remote], &[0]);
    rclone(
        &[
            "moveto",
            &format!("{remote}/large"),
            &format!("{remote}/moved"),
        ],
        &[0],
    );
    rclone(&["copy", &remote, &back], &[0]);
    let moved = fs::read(format!("{back}/moved")).unwrap();
    assert!(moved == Content::new(3, 23 << 20).bytes());
    s3.get(&path("large")).fails(404, "NoSuchKey");
}

/// Backups are made, checked, thinned out and restored.
pub(super) fn restic_backs_up(s3: &S3, dir: &Path) {
    let (folder, back) = (dir.join("folder"), dir.join("back"));
    fs::create_dir_all(folder.join("deep")).unwrap();
    let content = Content::new(3, 40 << 20);
    content.write(&folder.join("large"));
    write_file(&folder.join("deep/small"), "small");
    let settings = [
        format!("AWS_ACCESS_KEY_ID={}", s3.id),
        format!("AWS_SECRET_ACCESS_KEY={}", s3.secret),
        "RESTIC_PASSWORD=of the test".to_owned(),
        format!(
            "RESTIC_REPOSITORY=s3:http://{}/{BUCKET}/backups",
            s3.address
        ),
        format!("RESTIC_CACHE_DIR={}", text(&dir.join("cache"))),
    ];
    let restic = |arguments: &[&str]| {
        let settings = settings.iter().map(String::as_str);
        let alone = ["-u", "AWS_CA_BUNDLE"].into_iter();
        let arguments: Vec<_> = alone
            .chain(settings)
            .chain(["restic"])
            .chain(arguments.iter().copied())
            .collect();
        run_program("env", &arguments, &[0])
    };
    restic(&["init"]);
    restic(&["backup", &text(&folder)]);
    write_file(&folder.join("deep/small"), "changed");
    restic(&["backup", &text(&folder)]);
    restic(&["check", "--read-data"]);
    restic(&["forget", "--keep-last", "1", "--prune"]);
    restic(&["check", "--read-data"]);
    restic(&["restore", "latest", "--target", &text(&back)]);
    let restored = back.join(folder.strip_prefix("/").unwrap());
    assert!(fs::read(restored.join("large")).unwrap() == content.bytes());
    let small = fs::read_to_string(restored.join("deep/small")).unwrap();
    assert_eq!(small, "changed");
}

/// Objects are brought, listed, copied, taken and removed.
pub(super) fn s3cmd_copies(s3: &S3, dir: &Path) {
    let (folder, back) = (dir.join("folder"), dir.join("back"));
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(&back).unwrap();
    let content = Content::new(4, 33 << 20);
    content.write(&folder.join("large"));
    write_file(&folder.join("b ä+%"), "small");
    let settings = [
        "--config=/dev/null".to_owned(),
        "--no-ssl".to_owned(),
        "--region=region-b".to_owned(),
        format!("--access_key={}", s3.id),
        format!("--secret_key={}", s3.secret),
        format!("--host={}", s3.address),
        format!("--host-bucket={}", s3.address),
        "--multipart-chunk-size-mb=5".to_owned(),
    ];
    let s3cmd = |arguments: &[&str]| {
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        run_program("s3cmd", &[&settings[..], arguments].concat(), &[0])
    };
    let remote = format!("s3://{BUCKET}/dir/");
    s3cmd(&["sync", &format!("{}/", text(&folder)), &remote]);
    s3cmd(&["ls", &remote]).tells(&["dir/large", "dir/b ä+%"]);
    s3cmd(&["cp", &format!("{remote}large"), &format!("{remote}copy")]);
    s3cmd(&["get", "--recursive", &remote, &format!("{}/", text(&back))]);
    assert!(fs::read(back.join("large")).unwrap() == content.bytes());
    assert!(fs::read(back.join("copy")).unwrap() == content.bytes());
    assert_eq!(fs::read_to_string(back.join("b ä+%")).unwrap(), "small");
    s3cmd(&["del", "--recursive", "--force", &remote]);
    s3.get(&path("dir/large")).fails(404, "NoSuchKey");
}

/// Folders go there and back; single calls ask for what the API has; a link is signed.
pub(super) fn the_aws_cli_syncs(s3: &S3, dir: &Path) {
    let (folder, back) = (dir.join("folder"), dir.join("back"));
    fs::create_dir_all(folder.join("deep")).unwrap();
    let content = Content::new(5, 33 << 20);
    content.write(&folder.join("large"));
    write_file(&folder.join("deep/b ä+%"), "small");
    let settings = [
        format!("PYTHONPATH={}", std::env::var("SEALIFT_AWSCLI").unwrap()),
        format!("AWS_ACCESS_KEY_ID={}", s3.id),
        format!("AWS_SECRET_ACCESS_KEY={}", s3.secret),
        format!("AWS_ENDPOINT_URL=http://{}", s3.address),
        "AWS_DEFAULT_REGION=region-b".to_owned(),
        "AWS_CONFIG_FILE=/dev/null".to_owned(),
        "AWS_SHARED_CREDENTIALS_FILE=/dev/null".to_owned(),
        "AWS_PAGER=".to_owned(),
    ];
    let aws = |arguments: &[&str]| {
        let alone = ["-u", "AWS_CA_BUNDLE", "-u", "AWS_PROFILE"].into_iter();
        let settings = settings.iter().map(String::as_str);
        let program = ["python3", "-m", "awscli"].into_iter();
        let ours = arguments.iter().copied();
        let arguments: Vec<_> = alone.chain(settings).chain(program).chain(ours).collect();
        run_program("env", &arguments, &[0])
    };
    let remote = format!("s3://{BUCKET}/dir");
    let api = |call: &str, key: &str, more: &[&str]| {
        let said = ["s3api", call, "--bucket", BUCKET, "--key", key];
        aws(&[&said, more].concat())
    };

    // Folders there and back, the large one in parts; what is the same is not sent again.
    aws(&["s3", "sync", &text(&folder), &remote]).tells(&["upload:", "large"]);
    assert_eq!(aws(&["s3", "sync", &text(&folder), &remote]).text(), "");
    aws(&["s3", "ls", "--recursive", &format!("{remote}/")]).tells(&["dir/deep/b ä+%", "34603008"]);
    aws(&[
        "s3",
        "mv",
        &format!("{remote}/large"),
        &format!("{remote}/moved"),
    ]);
    s3.get(&path("dir/large")).fails(404, "NoSuchKey");
    aws(&["s3", "sync", &remote, &text(&back)]);
    assert!(fs::read(back.join("moved")).unwrap() == content.bytes());
    assert_eq!(
        fs::read_to_string(back.join("deep/b ä+%")).unwrap(),
        "small"
    );

    // What the API's calls ask for.
    let (small, part) = (text(&folder.join("deep/b ä+%")), text(&back.join("part")));
    let sent = [
        "--body",
        &small,
        "--checksum-algorithm",
        "SHA256",
        "--metadata",
        "by=cli",
    ];
    api("put-object", "one", &sent).tells(&["ChecksumSHA256", "VersionId"]);
    api("head-object", "one", &["--checksum-mode", "ENABLED"])
        .tells(&["\"by\": \"cli\"", "\"Checksum"]);
    api("get-object", "one", &["--range", "bytes=1-3", &part]).tells(&["bytes 1-3/5"]);
    assert_eq!(fs::read_to_string(&part).unwrap(), "mal");
    let tags = "TagSet=[{Key=team,Value=blue}]";
    api("put-object-tagging", "one", &["--tagging", tags]);
    api("get-object-tagging", "one", &[]).tells(&["team", "blue"]);
    api("delete-object", "one", &[]).tells(&["\"DeleteMarker\": true"]);
    let listed = [
        "s3api",
        "list-object-versions",
        "--bucket",
        BUCKET,
        "--prefix",
        "one",
    ];
    aws(&listed).tells(&["DeleteMarkers", "\"IsLatest\": false"]);

    // A link for somebody who has no key.
    let link = aws(&["s3", "presign", &format!("{remote}/deep/b ä+%")]).text();
    run_program("curl", &["-sS", "--fail", link.trim()], &[0]).tells(&["small"]);
    aws(&["s3", "rm", "--recursive", &remote]);
    s3.get(&path("dir/moved")).fails(404, "NoSuchKey");
}

#[test]
#[ignore = "needs moto, rclone, restic, s3cmd, curl and the AWS CLI, which cargo xtask test installs"]
fn other_programs_work_in_front_of_a_source_and_the_replica_has_what_they_left() {
    let dir = tempfile::tempdir().unwrap();
    let moto = Moto::start(dir.path());
    let front = InFront::of(&moto.url, AT_STORE, "");
    let (pair, s3) = (&front.pair, &front.s3);
    let store = S3 {
        address: moto.url.trim_start_matches("http://").to_owned(),
        ..s3.clone()
    };
    let placed = "<CreateBucketConfiguration><LocationConstraint>region-b</LocationConstraint>\
                  </CreateBucketConfiguration>";
    let versioned = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    for (query, body) in [("", placed), ("?versioning", versioned)] {
        let (path, xml) = (
            format!("/{AT_STORE}{query}"),
            ("content-type", "application/xml"),
        );
        send(&store, "PUT", &path, &[xml], body.as_bytes()).is(200);
    }
    pair.start();
    let dir_of = |program: &str| {
        let dir = pair.a.dir.join(program);
        fs::create_dir(&dir).unwrap();
        dir
    };
    rclone_syncs(s3, &dir_of("rclone"));
    restic_backs_up(s3, &dir_of("restic"));
    s3cmd_copies(s3, &dir_of("s3cmd"));
    the_aws_cli_syncs(s3, &dir_of("aws"));
    wait_until("all of it is in the other region", TIME_MAX, || {
        let count = |status| pair.a.transfers(status).0;
        assert_eq!((count("FAILED"), count("SKIPPED")), (0, 0));
        count("PENDING") == 0 && count("COMPLETED") > 0
    });
    pair.b.run(&["verify", "--deep"]).exits(0);
    let left = s3.get(&format!("/{BUCKET}?list-type=2")).is(200);
    let keys = left.all("Key");
    assert!(keys.len() > 5, "{keys:?}");
    for key in keys {
        let path = sealift_terms::percent::encode_path(&key);
        let here = store.get(&format!("/{AT_STORE}/{path}")).is(200).body;
        let there = pair.dir().join("there");
        let object = format!("{BUCKET}/{key}");
        pair.b.run(&["get", "-o", &text(&there), &object]).exits(0);
        assert!(fs::read(&there).unwrap() == here, "{key} is another");
        fs::remove_file(&there).unwrap();
    }
}
