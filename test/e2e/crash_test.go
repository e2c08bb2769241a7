package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/cli"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/record"
)

// A test that kills the product runs it as a child process: this test binary
// again, told by the environment what to do and after which step to die.
const (
	childAction = "VAPPVAULT_E2E_CHILD"  // backup SELECTOR, or restore POINT [overwrite]; or cli ARGS
	childConfig = "VAPPVAULT_E2E_CONFIG" // path of the configuration
	childStep   = "VAPPVAULT_E2E_STEP"   // die after this many steps, or after that of this name; 0: never
	childOnly   = "VAPPVAULT_E2E_ONLY"   // only steps of this name count
)

func TestMain(m *testing.M) {
	if action := os.Getenv(childAction); action != "" {
		if args, ok := strings.CutPrefix(action, "cli "); ok {
			os.Exit(cli.Main(strings.Fields(args), os.Stdin, os.Stdout, os.Stderr))
		}
		if err := child(strings.Fields(action)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(record.Suite(func(r *record.Recorder) int {
		documents = r
		return m.Run()
	}))
}

// documents keeps what every cloud of the tests answered.
var documents *record.Recorder

func child(words []string) error {
	conf, err := config.Load(os.Getenv(childConfig))
	if err != nil {
		return err
	}
	app.Tune() // as the program does
	last, err := strconv.Atoi(os.Getenv(childStep))
	if err != nil {
		last = -1 // it is a name
	}
	n := 0
	ctx := context.Background()
	only := os.Getenv(childOnly)
	a := app.New(app.Options{Config: conf, Version: "test", Hook: func(step string) {
		if only != "" && step != only {
			return
		}
		n++
		fmt.Println(n, step)
		if n == last || step == os.Getenv(childStep) {
			if dir := os.Getenv(childCut); dir != "" {
				if err := cutPower(dir); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal arrives
		}
	}})
	switch words[0] {
	case "backup":
		_, err = a.Backup(ctx, app.BackupRequest{Selectors: words[1:], SamplePercent: -1})
	case "restore":
		_, err = a.Restore(ctx, app.RestoreRequest{Point: words[1], Options: childOptions(words[2:])})
		if slices.Contains(words, "empty-disks") && errors.Is(err, app.ErrPartial) {
			err = nil // what named disks held does not come back
		}
	case "resume":
		_, err = a.Resume(ctx, words[1], nil)
	case "undo":
		_, err = a.Undo(ctx, app.UndoRequest{Which: words[1], Options: childOptions(words[2:])})
	case "verify":
		var result app.VerifyResult
		result, err = a.Verify(ctx, words[1:], 100)
		if len(result.Damage) > 0 || result.Points == 0 {
			err = errors.Join(err, fmt.Errorf("verify: %+v", result))
		}
	}
	if err = errors.Join(err, a.Close(ctx)); err == nil {
		err = printPeak()
	}
	return err
}

// childOptions reads how a child is to restore: "overwrite keep remove".
func childOptions(words []string) plan.Options {
	o := plan.Options{Overwrite: slices.Contains(words, "overwrite"), KeepOld: slices.Contains(words, "keep")}
	if slices.Contains(words, "remove") {
		o.ExtraVMs, o.ExtraDisks = plan.ExtraRemove, plan.ExtraRemove
	}
	o.ChangedBlocks = slices.Contains(words, "blocks")
	o.EmptyDisks, o.Beside, o.ConfigOnly = slices.Contains(words, "empty-disks"), slices.Contains(words, "beside"), slices.Contains(words, "config")
	for _, word := range words {
		switch what, value, _ := strings.Cut(word, "="); what {
		case "vm":
			o.VMs = append(o.VMs, value)
		case "disk":
			o.Disks = append(o.Disks, value)
		case "attach-to":
			o.AttachTo = value
		case "to-vsphere":
			o.ToVSphere = value
		}
	}
	return o
}

// printPeak prints the process's peak of resident memory in KiB.
func printPeak() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, _, ok := strings.Cut(rest, " kB")
	if !ok {
		return errors.New("no VmHWM in /proc/self/status")
	}
	fmt.Println("peak memory " + strings.TrimSpace(kib))
	return nil
}

// die runs an action in a child that is killed after a step. It returns the
// step's name and whether the child was killed rather than finished. The child
// gets the environment as well.
func (e *env) die(step int, action string, environment ...string) (name string, killed bool) {
	e.t.Helper()
	return e.dieAfter(strconv.Itoa(step), action, environment...)
}

// dieAfter is die, by the number of a step or by its name.
func (e *env) dieAfter(step, action string, environment ...string) (name string, killed bool) {
	e.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = slices.Concat(os.Environ(), []string{childAction + "=" + action, childConfig + "=" + e.conf.Path(), childStep + "=" + step}, environment)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	name = lines[len(lines)-1]
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return name, true
	}
	if err != nil {
		e.t.Fatalf("%s: after %s: %v\n%s", action, name, err, stderr.String())
	}
	return name, false
}

// stride is how many steps lie between two deaths that are tried: all of them
// in the long run, a sample otherwise. It is odd, as tests do one thing after
// every other step.
func stride() int {
	if everything() {
		return 1
	}
	return 5
}

func TestABackupKilledAnywhereLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup(webShop) // so that what is killed are incrementals
	vm := e.vapp("web-shop").VMs[0]
	if _, err := e.vsphere(vm).CreateSnapshot(t.Context(), tenantSnapshot); err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n += stride() {
		step, killed := e.die(n, "backup "+webShop)
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if n%2 == 0 {
				if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				e.backup(webShop)
			}
			e.tidy(e.vapp("web-shop"))
			e.hasTenantSnapshot("web-shop")
		})
	}
	e.verified()
}

func TestABackupKilledWithItsJournalLostLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	for n := 2; ; n += 2 * stride() {
		step, killed := e.die(n, "backup acme/acme-vdc1/wiki")
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			e.loseJournal()
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.tidy(e.vapp("wiki"))
		})
	}
	e.verified()
}

func TestAnOverwriteKilledAnywhereIsTakenBackOrDone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("acme/acme-vdc1/wiki")
	e.write("wiki01", 0, 5<<20, random(3, 1<<20))
	spoilt := e.sums(e.vapp("wiki"))
	for n := 1; ; n += stride() {
		step, killed := e.die(n, "restore "+point.ID+" overwrite")
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			wiki := e.vapp("wiki")
			e.tidy(wiki)
			if got := e.sums(wiki); got["wiki01/2000"] != want["wiki01/2000"] && got["wiki01/2000"] != spoilt["wiki01/2000"] {
				t.Errorf("disk is neither what it was nor what it is to be")
			}
			e.noOrphans()
		})
	}
	sameSums(t, e.sums(e.vapp("wiki")), want)
	e.noOrphans()
}

func TestARebuildKilledAnywhereIsTakenBackOrDone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	point := e.backup("acme/acme-vdc1/wiki")
	e.destroy(e.vapp("wiki"))
	for n := 1; ; n += stride() {
		step, killed := e.die(n, "restore "+point.ID)
		if !killed {
			break
		}
		t.Run("killed after "+strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			e := e.with(t)
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if wiki := e.find("wiki"); wiki != nil {
				e.tidy(wiki)
				e.destroy(wiki) // done but for its last step
			}
			e.noOrphans()
		})
	}
	sameSums(t, e.sums(e.vapp("wiki")), want)
}

// with is the same environment for a subtest.
func (e *env) with(t *testing.T) *env {
	c := &env{t: t, dir: e.dir, cloud: e.cloud, conf: e.conf, vcd: e.vcd, vcenters: e.vcenters}
	return c
}

func (e *env) verified() {
	e.t.Helper()
	result, err := e.app(nil).Verify(e.t.Context(), nil, 100)
	if err != nil || len(result.Damage) > 0 {
		e.t.Fatalf("verify: %v, %v", result.Damage, err)
	}
	if result.Points == 0 {
		e.t.Fatal("nothing was verified")
	}
}

func (e *env) hasTenantSnapshot(name string) {
	e.t.Helper()
	for _, c := range e.configs(e.vapp(name)) {
		for _, s := range c.Snapshots {
			if s.Name == tenantSnapshot.Name {
				return
			}
		}
	}
	e.t.Error("the tenant's own snapshot is gone")
}

func (e *env) loseJournal() {
	e.t.Helper()
	files, err := filepath.Glob(filepath.Join(e.conf.StateDir, "journal.db*"))
	if err != nil || len(files) == 0 {
		e.t.Fatalf("no journal to lose: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			e.t.Fatal(err)
		}
	}
}

// noOrphans checks that every disk file on the datastores belongs to a VM.
func (e *env) noOrphans() {
	e.t.Helper()
	gone, err := e.cloud.Scrub(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	for _, f := range gone {
		if strings.HasSuffix(f, ".vmdk") {
			e.t.Errorf("%s was left behind", f)
		}
	}
}
