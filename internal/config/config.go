// Package config reads vappvault.yaml: which sites, which repository, where
// state lives, and what limits hold.
//
// A file is taken whole or not at all: an unknown key, a second document or
// a value that makes no sense is an error that names the line or the key.
// Paths in it are relative to the file. Passwords never stand in it, only
// where to read them, and what is read never prints.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Version is the version of the file that this program reads.
const Version = 1

// FileName is the name of the configuration file where none is given.
const FileName = "vappvault.yaml"

// ErrNotFound says that there is no configuration file in any of the places
// where one is looked for.
var ErrNotFound = errors.New("no configuration file")

// A Config is the content of one configuration file, checked, with defaults
// filled in and paths made absolute.
type Config struct {
	Version    int        `yaml:"version"`
	Sites      []Site     `yaml:"sites"`
	Repository Repository `yaml:"repository"`
	// StateDir holds the journal and the caches; empty for a folder of the
	// repository's own under the user's state folder.
	StateDir string `yaml:"stateDir"`
	// Transports are tried in this order.
	Transports []string `yaml:"transports"`
	VDDK       VDDK     `yaml:"vddk"`
	Limits     Limits   `yaml:"limits"`

	path string
}

// A Server is how one server is reached and who logs in to it.
type Server struct {
	URL string `yaml:"url"`
	// CA is a file of PEM certificates to trust instead of the system's.
	CA string `yaml:"ca"`
	// Fingerprint is the SHA-256 of the server's certificate, hex in lower
	// case. With it set, the server must show that certificate and no other.
	Fingerprint string `yaml:"fingerprint"`
	User        string `yaml:"user"`
	Password    Secret `yaml:",inline"`
}

// A Site is one vCD installation and the vCenters behind it.
type Site struct {
	// ID names the site in restore points, for ever.
	ID       string `yaml:"id"`
	Server   `yaml:",inline"`
	VCenters []Server `yaml:"vcenters"`
}

// A Repository is where restore points are kept.
type Repository struct {
	// URL is a folder, or a file:// URL of one.
	URL      string `yaml:"url"`
	Password Secret `yaml:",inline"`
}

// A VDDK says where VMware's disk library is and how it is used. doc/vddk.md
// explains each.
type VDDK struct {
	// LibDir is the folder that the library was unpacked to; without it there
	// is no transport vddk.
	LibDir string `yaml:"libdir"`
	// Transports are the library's own ways to a disk, joined by colons.
	Transports string `yaml:"transports"`
	NBDKit     string `yaml:"nbdkit"` // program, or its path
	Plugin     string `yaml:"plugin"` // name, or path of its file
	ConfigFile string `yaml:"configFile"`
	// Compression over the network: none, zlib, fastlz or skipz.
	Compression string `yaml:"compression"`
	NFCHostPort int    `yaml:"nfcHostPort"`
	// Timeout is how long one call of the library may take before nbdkit is
	// killed and the copy tried again; 0 is two minutes.
	Timeout time.Duration `yaml:"timeout"`
	// ReuseSession hands the library the session with vCenter, in an argument
	// that every user of the machine can read, instead of the password.
	ReuseSession bool `yaml:"reuseSession"`
}

// Limits bound how much is done at once, and for how long.
type Limits struct {
	VApps int `yaml:"vapps"` // vApps backed up side by side
	Disks int `yaml:"disks"` // disks read or written side by side, of all those vApps
	// PerHost and PerVCenter are what this process asks of one ESXi host and
	// of one vCenter at a time.
	PerHost    Bound `yaml:"perHost"`
	PerVCenter Bound `yaml:"perVCenter"`
	// Bandwidth is how many bytes of disks are moved in a second, of all
	// transfers together; 0 is no limit.
	Bandwidth Size `yaml:"bandwidth"`
	// Checkpoint is how much of a copy is lost at most when it is killed: so
	// much is copied of a vApp before it is noted how far that is.
	Checkpoint Size `yaml:"checkpoint"`
	// Sample is the percentage of blocks reported unchanged that an
	// incremental reads all the same, to catch changed block tracking lying.
	Sample float64 `yaml:"sample"`
	// MaintenanceTimeout is how long a backup waits for the tasks that were
	// running when maintenance mode was entered.
	MaintenanceTimeout time.Duration `yaml:"maintenanceTimeout"`
}

// A Bound is what one host or vCenter is asked for at a time.
type Bound struct {
	Disks    int  `yaml:"disks"`    // open
	InFlight Size `yaml:"inFlight"` // bytes asked for that have not come yet
}

// transports are the names that the file may list, in the order that holds
// where it lists none.
var transports = []string{"vddk", "datastore", "nfc"}

// defaults leave room for others. A host has 48 MB for the buffers of all
// transfers and some 50 disks open, a vCenter 52 connections for everybody:
// it is two thirds of the buffers, half of the connections, and few disks, as
// more than eight at once make no host faster.
func defaults() *Config {
	return &Config{
		VDDK: VDDK{Transports: "san:hotadd:nbdssl:nbd", NBDKit: "nbdkit", Plugin: "vddk", Compression: "none", NFCHostPort: 902},
		Limits: Limits{
			VApps: 2, Disks: 4, Checkpoint: 4 << 30, Sample: 1, MaintenanceTimeout: 10 * time.Minute,
			PerHost: Bound{Disks: 8, InFlight: 32 << 20}, PerVCenter: Bound{Disks: 26, InFlight: 128 << 20},
		},
	}
}

// Find returns the path of the configuration file: the one given, or
// vappvault.yaml in the working directory, or the one in the user's
// configuration folder. ErrNotFound names the places.
func Find(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	places := []string{FileName}
	if dir, err := os.UserConfigDir(); err == nil {
		places = append(places, filepath.Join(dir, "vappvault", FileName))
	}
	for _, place := range places {
		_, err := os.Stat(place)
		if err == nil {
			return place, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("configuration: %w", err)
		}
	}
	return "", fmt.Errorf("%w: neither %s", ErrNotFound, strings.Join(places, " nor "))
}

// Load reads and checks the file at path.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := parse(data, abs)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Path is the file that c was read from, absolute.
func (c *Config) Path() string { return c.path }

// Site returns the site of the given id.
func (c *Config) Site(id string) (Site, bool) {
	for _, s := range c.Sites {
		if s.ID == id {
			return s, true
		}
	}
	return Site{}, false
}

// StateFolder returns where the state for the repository of the given id
// lives: StateDir, or a folder under the user's state folder.
func (c *Config) StateFolder(repositoryID string) (string, error) {
	if c.StateDir != "" {
		return c.StateDir, nil
	}
	if repositoryID == "" || strings.ContainsAny(repositoryID, `/\`) || strings.Contains(repositoryID, "..") {
		return "", fmt.Errorf("state folder: repository id %q is not fit for a path", repositoryID)
	}
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) { // the specification says to ignore relative ones
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("state folder: %w", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "vappvault", repositoryID), nil
}

func parse(data []byte, path string) (*Config, error) {
	c := defaults()
	c.path = path
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	switch err := dec.Decode(c); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("empty")
	case err != nil:
		return nil, plain(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

var unknownKey = regexp.MustCompile(`^line (\d+): field (.+) not found in type .*$`)

var wrongType = regexp.MustCompile("^line (\\d+): cannot unmarshal !!\\w+ (`.*` )?into (.+)$")

// wanted words the types that a value can have.
var wanted = map[string]string{
	"time.Duration": "a time such as 10m", "int": "a whole number", "float64": "a number", "bool": "true or false", "string": "a word",
}

// wantedFor says what is wanted where the YAML package wants a Go type.
func wantedFor(typ string) string {
	switch {
	case wanted[typ] != "":
		return wanted[typ]
	case strings.HasPrefix(typ, "[]"):
		return "a list"
	}
	return "keys and values"
}

// plain words the YAML package's errors for someone who knows no Go.
func plain(err error) error {
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	lines := make([]string, len(types.Errors))
	for i, s := range types.Errors {
		if m := unknownKey.FindStringSubmatch(s); m != nil {
			s = fmt.Sprintf("line %s: unknown key %q", m[1], m[2])
			if m[2] == "password" {
				s += "; use passwordFile, passwordEnv or passwordCommand"
			}
		}
		if m := wrongType.FindStringSubmatch(s); m != nil {
			value := strings.Trim(m[2], "` ")
			s = fmt.Sprintf("line %s: %q: want %s", m[1], value, wantedFor(m[3]))
			if value == "" {
				s = fmt.Sprintf("line %s: want %s", m[1], wantedFor(m[3]))
			}
		}
		lines[i] = s
	}
	return errors.New(strings.Join(lines, "; "))
}
