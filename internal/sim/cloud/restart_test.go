package cloud

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// again starts a cloud in a directory and says when it cannot.
func again(t *testing.T, o Options) *Cloud {
	t.Helper()
	c, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var (
	apiHrefs = regexp.MustCompile(`href="(https://[^"]+)"`)
	// varying is what differs between two readings of one document: request
	// ids, and what datastores have left: disks that are made up are made when they
	// are first read.
	varying = regexp.MustCompile(`requestId="[^"]*"|message="[^"]*"|(storageUsedMB="[^"]*" storageMB|provisionedStorageMB)="[^"]*"`)
)

// documents are all that an administrator can reach, by href, with their
// errors.
func documents(t *testing.T, c *Cloud) map[string]string {
	t.Helper()
	ctx := within(t)
	api, err := c.login(ctx, c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	defer api.logout(ctx)
	out := map[string]string{}
	for todo := []string{api.base + "/api/org", api.base + "/api/admin", api.base + "/api/admin/extension", api.base + "/api/query"}; len(todo) > 0; todo = todo[1:] {
		href := todo[0]
		if _, seen := out[href]; seen || !strings.HasPrefix(href, api.base) || strings.Contains(href, "/action/") || strings.Contains(href, "/cloudapi/") ||
			strings.Contains(strings.ToLower(href), "event&") || // logins are among them
			strings.Contains(href, "/metrics/") || // time goes by
			strings.Contains(href, "format=references") || strings.Contains(href, "format=idrecords") { // no more than records say
			continue
		}
		body, err := api.do(ctx, http.MethodGet, href, "", "")
		out[href] = varying.ReplaceAllString(string(body), "")
		if err == nil {
			for _, m := range apiHrefs.FindAllSubmatch(body, -1) {
				todo = append(todo, strings.ReplaceAll(string(m[1]), "&amp;", "&"))
			}
		}
	}
	return out
}

func compare(t *testing.T, before, after map[string]string) {
	t.Helper()
	if len(before) != len(after) {
		t.Errorf("%d documents before, %d after", len(before), len(after))
	}
	shown := 0
	for href, doc := range before {
		if doc != after[href] && shown < 5 {
			shown++
			t.Errorf("%s:\n%s\nafter the restart\n%s", href, difference(doc, after[href]), difference(after[href], doc))
		}
	}
}

// difference is the part of a where it differs from b.
func difference(a, b string) string {
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	return "…" + a[max(0, at-200):min(len(a), at+200)] + "…"
}

func sums(t *testing.T, c *Cloud) map[string]string {
	t.Helper()
	out := map[string]string{}
	vms, err := c.VMs(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, vm := range vms {
		disk, err := c.Guest(within(t), vm.Path, 0)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := Sum(within(t), disk)
		if err != nil {
			t.Fatal(err)
		}
		out[vm.Path+" "+vm.MoRef] = sum
	}
	return out
}

func TestARestartChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := again(t, Options{Dir: dir})
	ctx := within(t)
	if err := c.Power(ctx, "db01", "off"); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteVApp(ctx, "acme/acme-vdc1/wiki"); err != nil {
		t.Fatal(err)
	}
	disk, err := c.Guest(ctx, "web01", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt([]byte("written by the guest"), 4096); err != nil {
		t.Fatal(err)
	}
	docs, disks, ca := documents(t, c), sums(t, c), c.CA()
	urls := map[string]string{}
	for name, vc := range c.VCenters() {
		urls[name] = vc.URL().String() + vc.InstanceUUID() + string(vc.Certificate().Raw)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = again(t, Options{Dir: dir})
	if !c.Restored() {
		t.Fatal("nothing was restored")
	}
	compare(t, docs, documents(t, c))
	if got := sums(t, c); len(got) != len(disks) {
		t.Errorf("got %v, want %v", got, disks)
	} else {
		for vm, sum := range disks {
			if got[vm] != sum {
				t.Errorf("%s: other bytes", vm)
			}
		}
	}
	if !bytes.Equal(c.CA(), ca) {
		t.Error("another authority")
	}
	for name, vc := range c.VCenters() {
		if urls[name] != vc.URL().String()+vc.InstanceUUID()+string(vc.Certificate().Raw) {
			t.Errorf("%s: another address, UUID or certificate", name)
		}
	}
	if err := c.Power(ctx, "db01", "on"); err != nil {
		t.Errorf("it does not work on: %v", err)
	}
}

func TestADirectoryKeepsOneCloud(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := again(t, Options{Dir: dir, Inventory: parse(t, small)}).Close(); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct {
		name     string
		options  Options
		restored bool
		err      error
	}{
		{"the same inventory", Options{Inventory: parse(t, small)}, true, nil},
		{"none", Options{}, true, nil},
		{"another one", Options{Inventory: Default()}, false, ErrAnotherCloud},
		{"another one, fresh", Options{Inventory: Default(), Fresh: true}, false, nil},
		{"the first one, by now another", Options{Inventory: parse(t, small)}, false, ErrAnotherCloud},
	} {
		t.Run(o.name, func(t *testing.T) {
			o.options.Dir = dir
			c, err := Start(o.options)
			if !errors.Is(err, o.err) {
				t.Fatalf("got %v, want %v", err, o.err)
			}
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			if c.Restored() != o.restored {
				t.Errorf("restored: %v", c.Restored())
			}
		})
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("what vcdsim did not make is gone: %v", err)
	}
}

func TestADirectoryIsServedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Dir: dir, Inventory: parse(t, small)}
	begin, errs, clouds := make(chan struct{}), make(chan error, 4), make(chan *Cloud, 4)
	for range cap(errs) { // the first start is under way as the others begin
		go func() {
			<-begin
			c, err := Start(o)
			clouds <- c
			errs <- err
		}()
	}
	close(begin)
	var running *Cloud
	for range cap(errs) {
		if c := <-clouds; c != nil && running == nil {
			running = c
		} else if c != nil {
			_ = c.Close()
			t.Error("two clouds in one directory")
		}
		if err := <-errs; err != nil && !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
	if running == nil {
		t.Fatal("none of them started")
	}
	defer func() { _ = running.Close() }()
	o.Fresh = true
	if _, err := Start(o); !errors.Is(err, ErrBusy) {
		t.Errorf("fresh, while one runs: got %v, want ErrBusy", err)
	}
	if _, err := running.FindVM(within(t), "web"); err != nil {
		t.Error(err)
	}
	if err := running.Close(); err != nil {
		t.Error(err)
	}
	again(t, o)
	if _, err := Start(Options{Dir: dir, Listen: "nowhere"}); err == nil {
		t.Error("an address that is none was taken")
	}
}

func TestATakenPortIsToldOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := again(t, Options{Dir: dir, Inventory: parse(t, small)})
	address := c.Director().URL().Host
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c = again(t, Options{Dir: dir})
	if got := c.Moved(); len(got) != 1 || got["lab"] != address {
		t.Errorf("moved: %v, want that of the vCD, %s", got, address)
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	round := func() {
		c, err := Start(Options{Dir: t.TempDir(), Inventory: parse(t, small)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.FindVM(within(t), "web"); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	round() // what a process starts once
	before := runtime.NumGoroutine()
	for range 3 {
		round()
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines more than before:\n%s", runtime.NumGoroutine()-before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// copyDir is what a kill leaves: the files as they are at one moment.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !e.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAKillLosesTheLastSecondsAtMost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := again(t, Options{Dir: dir, Inventory: parse(t, strings.ReplaceAll(small, "fill: 1MiB", "fill: 64KiB"))})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for state := "on"; ctx.Err() == nil; {
			_ = c.Power(ctx, "web", state)
			if state = "off"; time.Now().UnixNano()%2 == 0 {
				state = "on"
			}
		}
	}()
	var copies []string
	for range 4 {
		time.Sleep(700 * time.Millisecond)
		copies = append(copies, t.TempDir())
		copyDir(t, dir, copies[len(copies)-1])
	}
	stop()
	<-done
	for _, dir := range copies {
		c := again(t, Options{Dir: dir})
		if !c.Restored() {
			t.Error("nothing was restored")
		}
		if _, err := c.FindVM(within(t), "acme/vdc1/shop/web"); err != nil {
			t.Error(err)
		}
		// Whatever was under way is over, so that the VM can be used.
		if err := c.Power(within(t), "web", "off"); err != nil && !strings.Contains(err.Error(), "not deployed") && !strings.Contains(err.Error(), "power") {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// stateOf is the file of a vCD in a directory.
func stateOf(dir string) string { return filepath.Join(stateDir(dir), "lab", "director.state") }

func TestAKillBetweenTheSavesIsReconciled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := again(t, Options{Dir: dir, Inventory: parse(t, small)})
	ctx := within(t)
	// vCenter saves what is done, vCD does not any more.
	if err := c.saveAll(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(stateOf(dir))
	if err != nil {
		t.Fatal(err)
	}
	vms, err := c.VMs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteVApp(ctx, "acme/vdc1/shop"); err != nil {
		t.Fatal(err)
	}
	if err := c.saveAll(); err != nil {
		t.Fatal(err)
	}
	killed := t.TempDir()
	copyDir(t, dir, killed)
	without, err := os.ReadFile(stateOf(killed))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stateOf(killed), kept, 0o600); err != nil {
		t.Fatal(err)
	}
	d := again(t, Options{Dir: killed})
	got, err := d.VMs(ctx)
	if err != nil || len(got) != len(vms)-1 {
		t.Errorf("%d VMs, %v; want %d", len(got), err, len(vms)-1)
	}
	for _, vm := range got {
		if _, err := d.Guest(ctx, vm.Path, 0); err != nil {
			t.Errorf("%s: %v", vm.Path, err)
		}
	}
	if err := d.DeleteVApp(ctx, "acme/vdc1/shop"); err != nil {
		t.Errorf("what is left of the vApp: %v", err)
	}

	// The other way round: vCD never learned of a VM.
	born := t.TempDir()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	e := again(t, Options{Dir: born, Inventory: parse(t, small)})
	if err := e.saveAll(); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	copyDir(t, born, copied)
	if err := os.WriteFile(stateOf(copied), without, 0o600); err != nil {
		t.Fatal(err)
	}
	f := again(t, Options{Dir: copied})
	if got, err = f.VMs(ctx); err != nil || len(got) != len(vms)-1 {
		t.Errorf("%d VMs, %v; want %d", len(got), err, len(vms)-1)
	}
	if err := f.Director().Discover(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err = f.VMs(ctx); err != nil || len(got) != len(vms) || !slices.ContainsFunc(got, func(vm RunningVM) bool {
		return strings.HasPrefix(vm.Name, "web (")
	}) {
		t.Errorf("the VM that vCD does not know cannot be discovered: %v, %v", got, err)
	}
}

func TestDamagedStatesAreTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := again(t, Options{Dir: dir, Inventory: parse(t, small)}).Close(); err != nil {
		t.Fatal(err)
	}
	vc, err := filepath.Glob(filepath.Join(stateDir(dir), "lab", "vc1", "*"))
	if err != nil || len(vc) == 0 {
		t.Fatalf("no state of the vCenter: %v", err)
	}
	for _, file := range append(vc, stateOf(dir), stateFile(dir)) {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, damage := range []func() error{
			func() error { return os.WriteFile(file, []byte("garbage"), 0o600) },
			func() error { return os.Remove(file) },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			if _, err := Start(Options{Dir: dir}); !errors.Is(err, ErrState) {
				t.Errorf("%s: got %v, want ErrState", filepath.Base(file), err)
			}
			if err := os.WriteFile(file, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			if file == stateFile(dir) {
				break // without it there is no cloud to go on with
			}
		}
	}
}

func TestAnOrderlyEndIsNotReconciled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := again(t, Options{Dir: dir})
	if !wasRunning(dir) {
		t.Error("a running cloud is not marked")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if wasRunning(dir) {
		t.Error("a closed cloud is marked as a running one")
	}
}

func TestAGeneratedCloud(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := Generation{Orgs: 2, VApps: 4, VMs: 12, VCenters: 2, Seed: 7, Disk: 1 << 20, Fill: 64 << 10}
	c := again(t, Options{Dir: dir, Inventory: generated(t, g)})
	vms, err := c.VMs(within(t))
	if err != nil || len(vms) != g.VMs {
		t.Fatalf("%d VMs, %v", len(vms), err)
	}
	if a, b := generated(t, g), generated(t, g); a.source != b.source {
		t.Error("the same size makes another inventory")
	}
	docs := documents(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	compare(t, docs, documents(t, again(t, Options{Dir: dir})))
	for _, bad := range []Generation{{}, {Orgs: 1, VApps: 2, VMs: 1}, {Orgs: 1, Disk: 1000}, {Orgs: 1, Disk: 512, Fill: 1024}} {
		if err := Generate(&bytes.Buffer{}, bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
