// Command bench measures vappvault against the tools that one would use in
// its place, and against what the machine can do at all.
//
// It makes its images, builds or installs its peers, runs everything in turn,
// so that a machine whose speed drifts is unfair to nobody, and writes ratios
// to RESULTS.md: times of other machines say nothing here. Every process that
// is timed is one of its own, this program's parts included; see child.go.
// BENCH_PROFILE=PREFIX has each of those write a CPU profile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A settings is what the command line asks for.
type settings struct {
	runs    int
	size    int64 // of an image, in bytes
	quick   bool
	only    []string
	peers   []string
	dir     string
	results string
	self    string // this program
	repo    string // the checkout
}

// sections are the parts of a run, in order.
var sections = []struct {
	name string
	what string
	run  func(*bench) error
}{
	{"full", "a first backup of an image", (*bench).full},
	{"restore", "back to a raw file", (*bench).restore},
	{"incremental", "1% of the blocks changed since", (*bench).incremental},
	{"index", "index and snapshot in a 1% incremental of a large disk", (*bench).index},
	{"memory", "peak memory of a disk of 62 TiB", (*bench).memory},
	{"scaling", "workers, disks, size", (*bench).scaling},
	{"nbd", "client and server", (*bench).nbd},
	{"transports", "whole backups from a simulated cloud", (*bench).transports},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	if len(os.Args) > 2 && os.Args[1] == "child" {
		err = child(ctx, os.Args[2], os.Args[3:])
	} else {
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() (s settings, err error) {
	var names []string
	for _, x := range sections {
		names = append(names, x.name)
	}
	size := flag.Int64("size", 768, "size of an image in MiB; that of an incremental is three times as large")
	flag.IntVar(&s.runs, "runs", 5, "runs of each; the median counts")
	flag.BoolVar(&s.quick, "quick", false, "one run of everything, in small sizes: shows that it works, not how fast")
	which := flag.String("only", "", "sections to run, with commas between: "+strings.Join(names, ","))
	flag.StringVar(&s.dir, "dir", "/dev/shm", "where images and repositories go for the time being: memory, so that no disk is measured")
	flag.StringVar(&s.results, "results", "", "file to keep the tables in; other sections of it stay as they are")
	peers := flag.String("peers", "kopia,restic,borg", "programs to compare with: building restic for the first time takes minutes")
	flag.Parse()
	s.peers = strings.Split(*peers, ",")
	if *which != "" {
		s.only = strings.Split(*which, ",")
	}
	for _, o := range s.only {
		if !slices.Contains(names, o) {
			return s, fmt.Errorf("-only: there is no section %q; there are %s", o, strings.Join(names, ", "))
		}
	}
	s.size = *size << 20
	if s.quick {
		s.runs, s.size = 1, 64<<20
	}
	if s.runs < 1 || s.size < 16<<20 {
		return s, errors.New("at least one run and 16 MiB")
	}
	if s.self, err = os.Executable(); err != nil {
		return s, err
	}
	s.repo, err = checkout()
	return s, err
}

// checkout returns the folder of the sources, from which peers are built.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "test", "kopia", "build.sh")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("to be run inside the checkout")
		}
		dir = up
	}
}

func run(ctx context.Context) error {
	s, err := parse()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, "vappvault-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	b := &bench{settings: s, ctx: ctx, dir: dir, report: newReport(ctx, s)}
	for _, x := range sections {
		if len(s.only) > 0 && !slices.Contains(s.only, x.name) {
			continue
		}
		b.report.begin(x.name, x.what)
		if err := x.run(b); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		if err := b.report.end(ctx); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return nil
}
