package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A measure is what one run of a process came to.
type measure struct {
	wall    float64 // seconds, from start to exit
	cpu     float64 // seconds of all cores
	warm    float64 // seconds, with everything open; of our own processes only
	warmCPU float64
	memory  int64 // peak of the resident set, in bytes
}

// A peer is a program that keeps backups of an image: ours, others, the limit.
// Each has a folder of its own, and each call is a process of its own.
type peer interface {
	name() string
	// init makes an empty repository in place of what there is.
	init(ctx context.Context) error
	// backup stores the image. Of blocks, which are those that changed since
	// the last backup, only ours and the limit are told: others find out. Nil
	// stands for all.
	backup(ctx context.Context, p picture, blocks []int64) (measure, error)
	// restore writes the last backup to a new file.
	restore(ctx context.Context, p picture, to string) (measure, error)
	stored() (int64, error) // bytes
}

// start runs a process to its end. Its output is an error's text.
func start(cmd *exec.Cmd) (measure, []byte, error) {
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	m := measure{wall: time.Since(began).Seconds()}
	if err != nil {
		return m, nil, fmt.Errorf("%s: %w: %s%s", strings.Join(cmd.Args[:min(len(cmd.Args), 3)], " "), err, errs.String(), out.String())
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.memory = usage.Maxrss << 10
		m.cpu = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	}
	return m, []byte(out.String()), nil
}

// A tool is a peer that is a program of somebody else.
type tool struct {
	title        string
	path         string // of the program
	dir          string
	env          []string
	create       [][]string
	save, fetch  []string // IMAGE, DIR, OUT, N stand for paths and the number of the backup
	restoredName string   // where under OUT the image comes to lie; IMAGE as above
	n            int
}

func (t *tool) name() string { return t.title }

func (t *tool) command(ctx context.Context, dir string, args []string, replace ...string) *exec.Cmd {
	r := strings.NewReplacer(append(replace, "DIR", t.dir, "N#", fmt.Sprint(t.n))...)
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = r.Replace(a)
	}
	cmd := exec.CommandContext(ctx, t.path, out...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	for _, e := range t.env {
		cmd.Env = append(cmd.Env, r.Replace(e))
	}
	return cmd
}

func (t *tool) init(ctx context.Context) error {
	t.n = 0
	if err := errors.Join(os.RemoveAll(t.dir), os.MkdirAll(t.dir, 0o700)); err != nil {
		return err
	}
	for _, args := range t.create {
		if _, _, err := start(t.command(ctx, t.dir, args)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tool) backup(ctx context.Context, p picture, _ []int64) (measure, error) {
	t.n++
	m, _, err := start(t.command(ctx, filepath.Dir(p.path), t.save, "IMAGE", filepath.Base(p.path), "FOLDER", filepath.Dir(p.path)))
	return m, err
}

func (t *tool) restore(ctx context.Context, p picture, to string) (measure, error) {
	out := to + ".d"
	if err := os.MkdirAll(out, 0o700); err != nil {
		return measure{}, err
	}
	defer os.RemoveAll(out) //nolint:errcheck // a temporary folder
	replace := []string{"IMAGE", filepath.Base(p.path), "FOLDER", filepath.Dir(p.path), "OUT", out}
	m, _, err := start(t.command(ctx, out, t.fetch, replace...))
	if err != nil {
		return m, err
	}
	return m, os.Rename(filepath.Join(out, strings.NewReplacer(replace...).Replace(t.restoredName)), to)
}

func (t *tool) stored() (int64, error) { return treeSize(filepath.Join(t.dir, "repo")) }

// treeSize adds up the files under a folder.
func treeSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

func kopia(path, dir string) *tool {
	return &tool{
		title: "kopia", path: path, dir: dir,
		env: []string{
			"KOPIA_PASSWORD=bench", "KOPIA_CONFIG_PATH=DIR/config", "KOPIA_CACHE_DIRECTORY=DIR/cache", "KOPIA_LOG_DIR=DIR/log",
			"KOPIA_CHECK_FOR_UPDATES=false",
		},
		create: [][]string{
			{"repository", "create", "filesystem", "--path=DIR/repo"},
			{"policy", "set", "--global", "--compression=zstd-fastest"},
		},
		save:         []string{"snapshot", "create", "--no-progress", "FOLDER"},
		fetch:        []string{"snapshot", "restore", "--no-progress", "FOLDER", "OUT/x"},
		restoredName: "x/IMAGE",
	}
}

func restic(path, dir string) *tool {
	return &tool{
		title: "restic", path: path, dir: dir,
		env:          []string{"RESTIC_PASSWORD=bench", "RESTIC_REPOSITORY=DIR/repo", "RESTIC_CACHE_DIR=DIR/cache"},
		create:       [][]string{{"init"}},
		save:         []string{"backup", "--quiet", "IMAGE"},
		fetch:        []string{"restore", "--quiet", "latest", "--target", "OUT"},
		restoredName: "IMAGE",
	}
}

func borg(path, dir string) *tool {
	return &tool{
		title: "borg", path: path, dir: dir,
		env:          []string{"BORG_PASSPHRASE=bench", "BORG_BASE_DIR=DIR", "BORG_REPO=DIR/repo"},
		create:       [][]string{{"init", "--encryption=repokey-blake2"}},
		save:         []string{"create", "::N#", "IMAGE"},
		fetch:        []string{"extract", "::N#"},
		restoredName: "IMAGE",
	}
}

// jsonOf words a task as a child takes it.
func jsonOf(t task) string {
	args, err := json.Marshal(t)
	if err != nil {
		panic(err) // only for a type that JSON does not know
	}
	return string(args)
}

// own runs a task in a process of this program.
func own(ctx context.Context, self, kind string, t task) (measure, error) {
	cmd := exec.CommandContext(ctx, self, "child", kind)
	cmd.Stdin = strings.NewReader(jsonOf(t)) // a list of blocks may be too long for an argument
	m, out, err := start(cmd)
	if err != nil {
		return m, err
	}
	var answer told
	err = json.Unmarshal(out, &answer)
	m.warm, m.warmCPU = answer.Seconds, answer.CPU
	return m, err
}

// vappvault is the product's own code, in a process of this program's.
type vappvault struct {
	self, dir string
	workers   int
}

func (v *vappvault) name() string     { return "vappvault" }
func (v *vappvault) root() string     { return filepath.Join(v.dir, "repo") }
func (v *vappvault) contents() string { return filepath.Join(v.dir, "contents.json") }

func (v *vappvault) init(ctx context.Context) error {
	if err := errors.Join(os.RemoveAll(v.dir), os.MkdirAll(v.dir, 0o700)); err != nil {
		return err
	}
	_, err := own(ctx, v.self, "init", task{oursRun: oursRun{Root: v.root()}})
	return err
}

func (v *vappvault) backup(ctx context.Context, p picture, blocks []int64) (measure, error) {
	return v.backupAll(ctx, []string{p.path}, blocks)
}

func (v *vappvault) backupAll(ctx context.Context, images []string, blocks []int64) (measure, error) {
	t := task{oursRun: oursRun{Root: v.root(), Images: images, Blocks: blocks, Result: v.contents(), Workers: v.workers}}
	if blocks != nil { // an incremental
		t.Parent = v.contents()
	}
	return own(ctx, v.self, "backup", t)
}

func (v *vappvault) restore(ctx context.Context, _ picture, to string) (measure, error) {
	return own(ctx, v.self, "restore", task{oursRun: oursRun{Root: v.root(), Images: []string{to}, Parent: v.contents()}})
}

func (v *vappvault) stored() (int64, error) { return treeSize(v.root()) }

// machine is what the machine can do: the limit. Its incremental is a file of its own.
type machine struct {
	self, dir string
	tuned     bool
}

func (l *machine) name() string {
	if l.tuned {
		return "limit, tuned"
	}
	return "limit"
}

func (l *machine) file() string { return filepath.Join(l.dir, "file") }

func (l *machine) init(context.Context) error {
	return errors.Join(os.RemoveAll(l.dir), os.MkdirAll(l.dir, 0o700))
}

func (l *machine) backup(ctx context.Context, p picture, blocks []int64) (measure, error) {
	file := l.file()
	if blocks == nil {
		for n := range (p.size + limitBlock - 1) / limitBlock {
			blocks = append(blocks, n)
		}
	} else {
		file += ".incremental"
	}
	return own(ctx, l.self, "limit-backup", task{oursRun: oursRun{Images: []string{p.path}, Blocks: blocks}, File: file, Tuned: l.tuned})
}

func (l *machine) restore(ctx context.Context, p picture, to string) (measure, error) {
	return own(ctx, l.self, "limit-restore", task{oursRun: oursRun{Images: []string{to}}, File: l.file(), Size: p.size, Tuned: l.tuned})
}

func (l *machine) stored() (int64, error) { return treeSize(l.dir) }
