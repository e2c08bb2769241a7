package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var siteID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]*$`)

// check refuses what makes no sense, fills in defaults and makes paths
// absolute.
func (c *Config) check() error {
	if c.Version != Version {
		return fmt.Errorf("version: is %d, this program reads %d", c.Version, Version)
	}
	if len(c.Sites) == 0 {
		return errors.New("sites: none given")
	}
	seen := map[string]bool{}
	for i := range c.Sites {
		s := &c.Sites[i]
		if !siteID.MatchString(s.ID) {
			return fmt.Errorf("sites[%d].id: %q: want letters, digits, dot, dash or underscore", i, s.ID)
		}
		if seen[s.ID] {
			return fmt.Errorf("sites[%d].id: %s: given twice", i, s.ID)
		}
		seen[s.ID] = true
		if err := c.checkSite(s); err != nil {
			return fmt.Errorf("site %s: %w", s.ID, err)
		}
	}
	if err := c.checkRepository(); err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	c.StateDir = c.abs(c.StateDir)
	if err := c.checkTransports(); err != nil {
		return fmt.Errorf("transports: %w", err)
	}
	if err := c.checkVDDK(); err != nil {
		return fmt.Errorf("vddk: %w", err)
	}
	if err := c.Limits.check(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	return nil
}

func (c *Config) checkSite(s *Site) error {
	if err := c.checkServer(&s.Server); err != nil {
		return err
	}
	if len(s.VCenters) == 0 {
		return errors.New("vcenters: none given")
	}
	seen := map[string]bool{}
	for i := range s.VCenters {
		v := &s.VCenters[i]
		if err := c.checkServer(v); err != nil {
			return fmt.Errorf("vcenters[%d]: %w", i, err)
		}
		if seen[v.URL] {
			return fmt.Errorf("vcenters[%d]: url: %s: given twice", i, v.URL)
		}
		seen[v.URL] = true
	}
	return nil
}

func (c *Config) checkServer(s *Server) error {
	u, err := url.Parse(s.URL)
	switch {
	case s.URL == "":
		return errors.New("url: not given")
	case err != nil:
		// The parser's error repeats the whole URL, and a URL may hold a
		// password by mistake.
		return errors.New("url: not a URL")
	case u.User != nil:
		return errors.New("url: must not hold a user or password")
	case u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("url: %q: want https://HOST", s.URL)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("url: %q: must not hold ? or #", s.URL)
	}
	s.URL = strings.TrimRight(s.URL, "/")
	if s.User == "" {
		return errors.New("user: not given")
	}
	if s.Fingerprint, err = fingerprint(s.Fingerprint); err != nil {
		return fmt.Errorf("fingerprint: %w", err)
	}
	s.CA = c.abs(s.CA)
	return c.checkSecret(&s.Password)
}

// fingerprint returns a SHA-256 as 64 hex digits in lower case.
func fingerprint(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	digits := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(s), "sha256:"), ":", ""))
	if b, err := hex.DecodeString(digits); err != nil || len(b) != 32 {
		return "", errors.New("want a SHA-256: 64 hex digits, colons allowed")
	}
	return digits, nil
}

func (c *Config) checkSecret(s *Secret) error {
	given := 0
	for _, is := range []bool{s.File != "", s.Env != "", len(s.Command) > 0} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errors.New("want one of passwordFile, passwordEnv and passwordCommand")
	}
	s.File = c.abs(s.File)
	s.dir = filepath.Dir(c.path)
	return nil
}

func (c *Config) checkRepository() error {
	r := &c.Repository
	switch u, err := url.Parse(r.URL); {
	case r.URL == "":
		return errors.New("url: not given")
	case err == nil && u.Scheme == "file":
		if u.Host != "" && u.Host != "localhost" {
			return fmt.Errorf("url: %s: a file URL must not name a host", r.URL)
		}
		if !filepath.IsAbs(u.Path) {
			return fmt.Errorf("url: %s: want file:///PATH", r.URL)
		}
		r.URL = filepath.Clean(u.Path)
	case strings.Contains(r.URL, "://"):
		return fmt.Errorf("url: %s: want a folder or file:///PATH", r.URL)
	default:
		r.URL = c.abs(r.URL)
	}
	return c.checkSecret(&r.Password)
}

// Path is the repository's folder, absolute.
func (r Repository) Path() string { return r.URL }

func (c *Config) checkTransports() error {
	if len(c.Transports) == 0 {
		c.Transports = slices.Clone(transports)
		if c.VDDK.LibDir == "" {
			c.Transports = slices.DeleteFunc(c.Transports, func(t string) bool { return t == "vddk" })
		}
	}
	for i, t := range c.Transports {
		if !slices.Contains(transports, t) {
			return fmt.Errorf("%q: want %s", t, strings.Join(transports, " or "))
		}
		if slices.Contains(c.Transports[:i], t) {
			return fmt.Errorf("%q: given twice", t)
		}
	}
	return nil
}

// vddkModes are the library's ways to a disk.
var vddkModes = []string{"san", "hotadd", "nbdssl", "nbd"}

func (c *Config) checkVDDK() error {
	v := &c.VDDK
	if slices.Contains(c.Transports, "vddk") && v.LibDir == "" {
		return errors.New("libdir: not given, though transports has vddk")
	}
	v.LibDir, v.ConfigFile = c.abs(v.LibDir), c.abs(v.ConfigFile)
	if strings.Contains(v.NBDKit, "/") { // else a program of the PATH
		v.NBDKit = c.abs(v.NBDKit)
	}
	if strings.Contains(v.Plugin, "/") { // else nbdkit knows where
		v.Plugin = c.abs(v.Plugin)
	}
	modes := strings.Split(v.Transports, ":")
	for i, m := range modes {
		if !slices.Contains(vddkModes, m) {
			return fmt.Errorf("transports: %q: want %s, joined by colons", m, strings.Join(vddkModes, ", "))
		}
		if slices.Contains(modes[:i], m) {
			return fmt.Errorf("transports: %q: given twice", m)
		}
	}
	if v.Timeout < 0 {
		return fmt.Errorf("timeout: %s: must not be negative", v.Timeout)
	}
	if v.NBDKit == "" || v.Plugin == "" {
		return errors.New("nbdkit and plugin: must not be empty")
	}
	if compressions := []string{"none", "zlib", "fastlz", "skipz"}; !slices.Contains(compressions, v.Compression) {
		return fmt.Errorf("compression: %q: want %s", v.Compression, strings.Join(compressions, ", "))
	}
	if v.NFCHostPort < 1 || v.NFCHostPort > 65535 {
		return fmt.Errorf("nfcHostPort: %d: want a port", v.NFCHostPort)
	}
	return nil
}

// MaxVApps is how many vApps can be worked on at once.
const MaxVApps = 64

func (l Limits) check() error {
	if l.VApps < 1 || l.VApps > MaxVApps {
		return fmt.Errorf("vapps: %d: want 1 to %d", l.VApps, MaxVApps)
	}
	if l.Disks < 1 || l.Disks > 256 {
		return fmt.Errorf("disks: %d: want 1 to 256", l.Disks)
	}
	if err := l.PerHost.check(); err != nil {
		return fmt.Errorf("perHost: %w", err)
	}
	if err := l.PerVCenter.check(); err != nil {
		return fmt.Errorf("perVCenter: %w", err)
	}
	if l.Bandwidth != 0 && l.Bandwidth < 64<<10 {
		return fmt.Errorf("bandwidth: %d: want at least 64KiB in a second, or 0 for no limit", l.Bandwidth)
	}
	if l.Checkpoint < 1<<20 {
		return fmt.Errorf("checkpoint: %d: want at least 1MiB", l.Checkpoint)
	}
	if !(l.Sample >= 0 && l.Sample <= 100) { // also refuses .nan
		return fmt.Errorf("sample: %v: want a percentage, 0 to 100", l.Sample)
	}
	if l.MaintenanceTimeout <= 0 {
		return fmt.Errorf("maintenanceTimeout: %s: want a time such as 10m", l.MaintenanceTimeout)
	}
	return nil
}

func (b Bound) check() error {
	if b.Disks < 1 || b.Disks > 256 {
		return fmt.Errorf("disks: %d: want 1 to 256", b.Disks)
	}
	if b.InFlight < 1<<20 {
		return fmt.Errorf("inFlight: %d: want at least 1MiB", b.InFlight)
	}
	return nil
}

// abs takes a path of the file to be relative to the file; "" stays.
func (c *Config) abs(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.path), path)
}
