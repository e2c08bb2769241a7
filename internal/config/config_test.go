package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const whole = `version: 1
sites:
  - id: berlin
    url: https://vcd.example.org/
    ca: ca.pem
    fingerprint: AB:CD:` + `00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd
    user: admin@System
    passwordFile: vcd.password
    vcenters:
      - url: https://vc1.example.org/sdk
        user: backup@vsphere.local
        passwordEnv: VC1_PASSWORD
      - url: https://vc2.example.org/sdk
        user: backup@vsphere.local
        passwordCommand: [pass, show, vc2]
repository:
  url: store
  passwordCommand: pass show store
stateDir: state
transports: [nfc]
limits:
  vapps: 3
  disks: 8
  sample: 0
  maintenanceTimeout: 90s
`

const small = `version: 1
sites: [{id: a, url: "https://h", user: u, passwordEnv: P, vcenters: [{url: "https://v", user: u, passwordEnv: P}]}]
repository: {url: /r, passwordEnv: P}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadReadsEveryKey(t *testing.T) {
	path := write(t, whole)
	dir := filepath.Dir(path)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := c.Site("berlin")
	if !ok {
		t.Fatal("site berlin is missing")
	}
	checks := []struct{ name, got, want string }{
		{"url loses its slash", s.URL, "https://vcd.example.org"},
		{"ca is relative to the file", s.CA, filepath.Join(dir, "ca.pem")},
		{"fingerprint is plain hex", s.Fingerprint, "abcd00112233445566778899aabbccddeeff00112233445566778899aabbccdd"},
		{"passwordFile is relative to the file", s.Password.File, filepath.Join(dir, "vcd.password")},
		{"passwordEnv is kept", s.VCenters[0].Password.Env, "VC1_PASSWORD"},
		{"a list is a command", strings.Join(s.VCenters[1].Password.Command, "|"), "pass|show|vc2"},
		{"a line is for the shell", strings.Join(c.Repository.Password.Command, "|"), "sh|-c|pass show store"},
		{"repository is relative to the file", c.Repository.Path(), filepath.Join(dir, "store")},
		{"stateDir is relative to the file", c.StateDir, filepath.Join(dir, "state")},
		{"path is absolute", c.Path(), path},
	}
	for _, tc := range checks {
		if tc.got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, tc.got, tc.want)
		}
	}
	want := defaults().Limits
	want.VApps, want.Disks, want.Sample, want.MaintenanceTimeout = 3, 8, 0, 90*time.Second
	if c.Limits != want {
		t.Errorf("limits: got %+v, want %+v", c.Limits, want)
	}
	if !slices.Equal(c.Transports, []string{"nfc"}) {
		t.Errorf("transports: got %v", c.Transports)
	}
}

func TestLoadFillsInDefaults(t *testing.T) {
	c, err := Load(write(t, small))
	if err != nil {
		t.Fatal(err)
	}
	if c.Limits != defaults().Limits {
		t.Errorf("limits: got %+v", c.Limits)
	}
	if !slices.Equal(c.Transports, []string{"datastore", "nfc"}) {
		t.Errorf("transports: got %v", c.Transports)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, old, new string // applied to the small file
		want           string
	}{
		{"an empty file", small, "", "empty"},
		{"an unknown key, with its line", "version: 1\n", "version: 1\nlimit: {}\n", `line 2: unknown key "limit"`},
		{"an unknown key far down", "{id: a,", "{id: a, uri: x,", `line 2: unknown key "uri"`},
		{"a password in the clear", "/r, passwordEnv: P", "/r, password: hunter2", `unknown key "password"; use passwordFile`},
		{"broken YAML", "version: 1", "version: [", "line 2"},
		{"two documents", small, small + "---\n" + small, "more than one document"},
		{"another version", "version: 1", "version: 2", "version: is 2"},
		{"no version", "version: 1\n", "", "version: is 0"},
		{"no site", "sites: [", "x-sites: [", `unknown key "x-sites"`},
		{"a site's id unfit for a path", "{id: a,", "{id: ../a,", `sites[0].id: "../a"`},
		{"plain http", "https://h", "http://h", `site a: url: "http://h"`},
		{"a password in a URL", "https://h", "https://root:hunter2@h", "must not hold a user or password"},
		{"no user", "user: u, passwordEnv: P, vcenters", "passwordEnv: P, vcenters", "site a: user: not given"},
		{"a bad fingerprint", "{id: a,", "{id: a, fingerprint: ab,", "fingerprint: want a SHA-256"},
		{"no vCenter", `vcenters: [{url: "https://v", user: u, passwordEnv: P}]`, "vcenters: []", "vcenters: none given"},
		{"two sources of one password", "/r, passwordEnv: P", "/r, passwordEnv: P, passwordFile: f", "repository: want one of"},
		{"a store we cannot use", "url: /r", "url: s3://bucket", "want a folder or file:///PATH"},
		{"a file URL with a host", "url: /r", "url: file://r/x", "must not name a host"},
		{"an unknown transport", "version: 1", "version: 1\ntransports: [san]", `transports: "san": want vddk or datastore or nfc`},
		{"vddk without its library", "version: 1", "version: 1\ntransports: [vddk, nfc]", "vddk: libdir: not given"},
		{"an unknown way to a disk", "version: 1", "version: 1\nvddk: {libdir: /v, transports: 'nbd:usb'}", `vddk: transports: "usb": want san, hotadd, nbdssl, nbd`},
		{"a way to a disk twice", "version: 1", "version: 1\nvddk: {libdir: /v, transports: 'nbd:nbd'}", `"nbd": given twice`},
		{"no way to a disk", "version: 1", "version: 1\nvddk: {libdir: /v, transports: ''}", `"": want san`},
		{"an unknown compression", "version: 1", "version: 1\nvddk: {libdir: /v, compression: lzma}", `compression: "lzma": want none, zlib`},
		{"no port", "version: 1", "version: 1\nvddk: {libdir: /v, nfcHostPort: 0}", "nfcHostPort: 0: want a port"},
		{"no nbdkit", "version: 1", "version: 1\nvddk: {libdir: /v, nbdkit: ''}", "nbdkit and plugin: must not be empty"},
		{"a transport twice", "version: 1", "version: 1\ntransports: [nfc, nfc]", "given twice"},
		{"no vApp at a time", "version: 1", "version: 1\nlimits: {vapps: 0}", "limits: vapps: 0"},
		{"no disk at a time", "version: 1", "version: 1\nlimits: {disks: 0}", "limits: disks: 0"},
		{"a sample above all", "version: 1", "version: 1\nlimits: {sample: 101}", "limits: sample: 101"},
		{"a sample that is no number", "version: 1", "version: 1\nlimits: {sample: .nan}", "limits: sample: NaN"},
		{"no disk of a host", "version: 1", "version: 1\nlimits: {perHost: {disks: 0}}", "limits: perHost: disks: 0"},
		{"nothing in flight", "version: 1", "version: 1\nlimits: {perVCenter: {inFlight: 4KiB}}", "limits: perVCenter: inFlight: 4096"},
		{"a size without sense", "version: 1", "version: 1\nlimits: {bandwidth: fast}", `line 2: "fast": want a size`},
		{"a list for a size", "version: 1", "version: 1\nlimits: {bandwidth: [1]}", "line 2: want a size"},
		{"hardly any bandwidth", "version: 1", "version: 1\nlimits: {bandwidth: 200}", "limits: bandwidth: 200"},
		{"a checkpoint all the time", "version: 1", "version: 1\nlimits: {checkpoint: 1KiB}", "limits: checkpoint: 1024"},
		{"a time without its unit", "version: 1", "version: 1\nlimits: {maintenanceTimeout: 10}", `line 2: "10": want a time such as 10m`},
		{"a word for a number", "version: 1", "version: 1\nlimits: {vapps: many}", `line 2: "many": want a whole number`},
		{"a list for keys", "version: 1", "version: 1\nlimits: [1]", "line 2: want keys and values"},
		{"keys for a list", "version: 1", "version: 1\ntransports: {a: b}", "line 2: want a list"},
		{"no time", "version: 1", "version: 1\nlimits: {maintenanceTimeout: 0s}", "maintenanceTimeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Replace(small, tc.old, tc.new, 1)
			if text == small {
				t.Fatal("the case changes nothing")
			}
			path := write(t, text)
			_, err := Load(path)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v tells the password", err)
			}
		})
	}
}

func TestFileURLIsAFolder(t *testing.T) {
	c, err := Load(write(t, strings.Replace(small, "url: /r", "url: file:///a%20b/", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Repository.Path(); got != "/a b" {
		t.Errorf("got %q", got)
	}
}

func TestFind(t *testing.T) {
	home, work := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Chdir(work)
	if got, err := Find("elsewhere.yaml"); got != "elsewhere.yaml" || err != nil {
		t.Errorf("given: got %q, %v", got, err)
	}
	_, err := Find("")
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), home) {
		t.Errorf("nowhere: got %v", err)
	}
	users := filepath.Join(home, "vappvault", FileName)
	if err := os.MkdirAll(filepath.Dir(users), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{users, filepath.Join(work, FileName)} {
		if err := os.WriteFile(place, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Find("")
		if err != nil || filepath.Base(got) != FileName || filepath.IsAbs(got) != (place == users) {
			t.Errorf("%s: got %q, %v", place, got, err)
		}
	}
}

func TestStateFolder(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	c := defaults()
	if got, err := c.StateFolder("r1"); got != "/state/vappvault/r1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, id := range []string{"", "..", "a/b"} {
		if got, err := c.StateFolder(id); err == nil {
			t.Errorf("%q: got %q, want an error", id, got)
		}
	}
	c.StateDir = "/s"
	if got, err := c.StateFolder("r1"); got != "/s" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestVDDKComesFirstOnceItsLibraryIsNamed(t *testing.T) {
	c, err := Load(write(t, strings.Replace(small, "version: 1", "version: 1\nvddk: {libdir: vddk, plugin: ./p.so}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"vddk", "datastore", "nfc"}; !slices.Equal(c.Transports, want) {
		t.Errorf("transports: got %v, want %v", c.Transports, want)
	}
	dir := filepath.Dir(c.Path())
	want := VDDK{
		LibDir: filepath.Join(dir, "vddk"), Plugin: filepath.Join(dir, "p.so"), NBDKit: "nbdkit",
		Transports: "san:hotadd:nbdssl:nbd", Compression: "none", NFCHostPort: 902,
	}
	if c.VDDK != want {
		t.Errorf("got %+v, want %+v", c.VDDK, want)
	}
}
