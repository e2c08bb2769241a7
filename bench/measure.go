package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A bench is one run of this program.
type bench struct {
	settings
	ctx    context.Context
	dir    string
	report *report
	text   []byte
	tools  map[string]string // paths of foreign programs
	told   []string          // which versions they say they are
	sets   []*set
}

// A set is an image with all peers and what they have stored of it.
type set struct {
	picture
	dir   string
	peers []peer // ours first
	full  bool   // all have a full backup
}

// median of at least one.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// A series is what the runs of one piece of work by one peer came to.
type series []measure

func (s series) walls() []float64 { return s.each(func(m measure) float64 { return m.wall }) }

// warm returns the series with the repository open.
func (s series) warm() series {
	out := make(series, len(s))
	for i, m := range s {
		out[i] = measure{wall: m.warm, cpu: m.warmCPU, memory: m.memory}
	}
	return out
}
func (s series) cpus() []float64 { return s.each(func(m measure) float64 { return m.cpu }) }
func (s series) memory() float64 {
	return slices.Max(s.each(func(m measure) float64 { return float64(m.memory) }))
}

func (s series) each(f func(measure) float64) []float64 {
	out := make([]float64, len(s))
	for i, m := range s {
		out[i] = f(m)
	}
	return out
}

// ratios divides run by run: what ran one after the other saw the same
// machine.
func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

// interleave runs do for each peer in turn, as often as is asked for. The
// order changes from run to run.
func (b *bench) interleave(peers []peer, do func(p peer) (measure, error), between func(run int) error) (map[string]series, error) {
	out := map[string]series{}
	for run := range b.runs {
		if err := between(run); err != nil {
			return nil, err
		}
		for i := range peers {
			p := peers[(i+run)%len(peers)]
			m, err := do(p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name(), err)
			}
			out[p.name()] = append(out[p.name()], m)
		}
	}
	return out, b.ctx.Err()
}

// findTools makes sure that the foreign programs are there: built from their
// sources at the versions that stand beside, or from the system.
func (b *bench) findTools() error {
	if b.tools != nil {
		return nil
	}
	b.tools = map[string]string{}
	for name, script := range map[string]string{"kopia": "test/kopia/build.sh", "restic": "bench/restic/build.sh"} {
		if !slices.Contains(b.peers, name) {
			continue
		}
		cmd := exec.CommandContext(b.ctx, filepath.Join(b.repo, script))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
		b.tools[name] = strings.TrimSpace(string(out))
		version := map[string]string{"kopia": "--version", "restic": "version"}[name]
		b.told = append(b.told, name+" "+strings.TrimPrefix(say(b.ctx, b.tools[name], version), name+" "))
	}
	if !slices.Contains(b.peers, "borg") {
		return nil
	}
	path, err := b.system("borg", "borgbackup")
	if err != nil {
		b.report.note("borg is left out: %v.", err)
		return nil
	}
	b.tools["borg"] = path
	b.told = append(b.told, say(b.ctx, path, "--version"))
	return nil
}

// system returns the path of a program, which is installed if that is allowed.
func (b *bench) system(program, debian string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return "", fmt.Errorf("%s is not installed (Debian: apt-get install %s)", program, debian)
	}
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", debian}} {
		cmd := exec.CommandContext(b.ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("apt-get install %s: %w: %s", debian, err, out)
		}
	}
	return exec.LookPath(program)
}

// source returns the text that images are made of.
func (b *bench) source() (_ []byte, err error) {
	if b.text == nil {
		b.text, err = sourceText(b.ctx)
	}
	return b.text, err
}

// images makes the two images, each with its peers.
func (b *bench) images() ([]*set, error) {
	if b.sets != nil {
		return b.sets, nil
	}
	for _, name := range pictures {
		s, err := b.set(name, b.size)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		b.sets = append(b.sets, s)
	}
	return b.sets, nil
}

// pictures are the images that everybody is measured with.
var pictures = []string{"mixed", "ext4"}

// set makes one image, and a folder for each peer.
func (b *bench) set(name string, size int64) (*set, error) {
	if err := b.findTools(); err != nil {
		return nil, err
	}
	text, err := b.source()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Join(dir, "image"), 0o700); err != nil {
		return nil, err
	}
	s := &set{dir: dir, peers: []peer{&vappvault{self: b.self, dir: filepath.Join(dir, "ours")},
		&machine{b.self, filepath.Join(dir, "limit"), false}, &machine{b.self, filepath.Join(dir, "tuned"), true}}}
	path := filepath.Join(dir, "image", "disk.raw")
	if name == "mixed" {
		s.picture, err = mixed(path, size, text)
	} else {
		s.picture, err = ext4(b.ctx, path, size, text)
	}
	if err != nil {
		return nil, err
	}
	for _, t := range []struct {
		name string
		tool func(path, dir string) *tool
	}{{"kopia", kopia}, {"restic", restic}, {"borg", borg}} {
		if path := b.tools[t.name]; path != "" {
			s.peers = append(s.peers, t.tool(path, filepath.Join(dir, t.name)))
		}
	}
	return s, nil
}

// prepare makes a full backup by every peer, unless there is one.
func (b *bench) prepare(s *set) error {
	if s.full {
		return nil
	}
	for _, p := range s.peers {
		if err := p.init(b.ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name(), err)
		}
		if _, err := p.backup(b.ctx, s.picture, nil); err != nil {
			return fmt.Errorf("%s: %w", p.name(), err)
		}
	}
	s.full = true
	return nil
}

// forget removes all images and what was stored of them.
func (b *bench) forget() error {
	var err error
	for _, s := range b.sets {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	b.sets = nil
	return err
}

// same compares two files, of which neither is read whole at once.
func same(a, b string) error {
	out, err := exec.Command("cmp", a, b).CombinedOutput()
	if err != nil {
		return errors.New("what came back is not what was stored: " + string(out))
	}
	return nil
}
