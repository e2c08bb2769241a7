package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

// A task is what a process of our own is told to do, as JSON in its argument
// or, without one, on standard input.
type task struct {
	oursRun
	Size   int64    // of the image that a restore makes
	Repeat int      // how often, for work that is too short to be timed
	File   string   // the limit's
	Tuned  bool     // the limit
	Server []string // command of an NBD server
}

// A told is what it answers: how long the work took with everything open, and
// how much of all cores' time.
type told struct {
	Seconds, CPU float64
}

// child does one piece of work in a process of its own.
func child(ctx context.Context, kind string, args []string) (err error) {
	var (
		t    task
		text io.Reader = os.Stdin
	)
	if len(args) > 0 {
		text = strings.NewReader(args[0])
	}
	if err := json.NewDecoder(text).Decode(&t); err != nil {
		return fmt.Errorf("child: %w", err)
	}
	if path := os.Getenv("BENCH_PROFILE"); path != "" {
		f, err := os.Create(fmt.Sprintf("%s.%s.%d", path, kind, os.Getpid()))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if t.Workers > 0 {
		runtime.GOMAXPROCS(t.Workers)
	}
	var answer told
	switch kind {
	case "init", "backup", "restore":
		answer, err = t.ours(ctx, kind)
	case "limit-backup":
		answer, err = timed(func() error { return limitBackup(ctx, t.Images[0], t.File, t.Blocks, t.Tuned) })
	case "limit-restore":
		answer, err = timed(func() error { return limitRestore(ctx, t.File, t.Images[0], t.Size, t.Tuned) })
	case "nbd-read":
		answer, err = timed(func() error { return nbdRead(ctx, t.Server) })
	case "nbd-serve":
		err = nbdServe(ctx, t.Images[0], t.File)
	default:
		err = fmt.Errorf("child: there is no %q", kind)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func timed(do func() error) (told, error) {
	start, used := time.Now(), cpu()
	err := do()
	return told{time.Since(start).Seconds(), cpu() - used}, err
}

// cpu returns what this process has had of all cores so far, in seconds.
func cpu() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func (t task) ours(ctx context.Context, kind string) (answer told, err error) {
	root, org, err := openOurs(ctx, t.Root)
	if err != nil {
		return answer, err
	}
	defer func() { err = errors.Join(err, root.Close(ctx)) }()
	switch kind {
	case "backup":
		return timed(func() error { return t.backup(ctx, org) })
	case "restore":
		return timed(func() error { return t.restore(ctx, org) })
	}
	return answer, nil
}
