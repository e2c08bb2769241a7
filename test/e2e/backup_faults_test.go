package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/limit"
	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/reconcile"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/datastore"
	"github.com/vappvault/vappvault/internal/transport/nfc"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

var wiki = app.BackupRequest{Selectors: []string{"acme/acme-vdc1/wiki"}, SamplePercent: -1}

func says(p *restorepoint.Point, text string) bool {
	return slices.ContainsFunc(p.Problems, func(p restorepoint.Problem) bool { return strings.Contains(p.Message, text) })
}

// elsewhere is the product with a state folder of its own.
func (e *env) elsewhere(t *testing.T) *app.App {
	conf := *e.conf
	conf.StateDir = t.TempDir()
	a := app.New(app.Options{Config: &conf, Version: "test"})
	t.Cleanup(func() { _ = a.Close(t.Context()) })
	return a
}

func TestABackupGoesOnWithoutTheRightToDisableRelocation(t *testing.T) {
	t.Parallel()
	for _, fault := range []types.BaseMethodFault{&types.NoPermission{}, &types.InvalidRequest{}} {
		e := newEnv(t, nil)
		faults := e.cloud.VCenter("vc1").Faults()
		for _, method := range []string{"DisableMethods", "EnableMethods"} {
			faults.FailCall(method, 1000, fault)
		}
		for range 2 {
			point := e.backupWith(wiki)
			if point.State != "complete" || !says(point, "relocation stays enabled") {
				t.Errorf("%T: %s, %v", fault, point.State, point.Problems)
			}
		}
		if settled, err := e.app(nil).Reconcile(t.Context()); err != nil || len(settled) > 0 {
			t.Errorf("%T: left behind: %v, %v", fault, settled, err)
		}
		e.tidy(e.vapp("wiki"))
	}
}

func TestRelocationDisabledByAnotherProductIsNoConcernOfOurs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	vm := e.vsphere(e.vapp("wiki").VMs[0])
	if err := vm.DisableRelocation(t.Context(), "com.example.other"); err != nil {
		t.Fatal(err)
	}
	e.cloud.VCenter("vc1").Faults().FailCall("EnableMethods", 1, &types.NoPermission{})
	if point := e.backupWith(wiki); point.State != "complete" {
		t.Errorf("%s: %v", point.State, point.Problems)
	}
	if config, err := vm.Config(t.Context()); err != nil || len(config.DisabledMethods) == 0 {
		t.Errorf("the other product's relocation was enabled: %v", err)
	}
}

func TestASnapshotThatCannotBeRemovedCostsNoRestorePoint(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	faults := e.cloud.VCenter("vc1").Faults()
	faults.FailTask("RemoveSnapshot_Task", 1000, nil)
	results, err := e.app(nil).Backup(t.Context(), wiki)
	if !errors.Is(err, app.ErrPartial) || !strings.Contains(err.Error(), "wiki01: remove snapshot") {
		t.Errorf("error: %v", err)
	}
	point := results[0].Point
	if point == nil || point.State != "complete" || !says(point, "remove snapshot") {
		t.Fatalf("restore point: %+v", point)
	}
	if listed := e.newest("acme/acme-vdc1/wiki"); listed.ID != point.ID {
		t.Errorf("newest restore point: %s, want %s", listed.ID, point.ID)
	}
	faults.FailTask("RemoveSnapshot_Task", 0, nil)
	settled, err := e.app(nil).Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(settled, func(s reconcile.Settled) bool { return s.Kind == mark.Snapshot }); i < 0 ||
		settled[i].Path != "acme/acme-vdc1/wiki" || settled[i].Name != "wiki01" || settled[i].Object != e.vapp("wiki").VMs[0].VimInfo.VMMoRef {
		t.Errorf("settled %+v", settled)
	}
	e.tidy(e.vapp("wiki"))
}

func TestDisksThatWaitForConsolidationAreSettledByTheNextRun(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	faults := e.cloud.VCenter("vc1").Faults()
	faults.LeaveDeltas(e.vapp("wiki").VMs[0].VimInfo.VMMoRef, 1)
	faults.FailTask("ConsolidateVMDisks_Task", 1000, nil)
	if _, err := e.app(nil).Backup(t.Context(), wiki); !errors.Is(err, app.ErrPartial) {
		t.Errorf("error: %v", err)
	}
	faults.FailTask("ConsolidateVMDisks_Task", 0, nil)
	e.backupWith(wiki)
	e.tidy(e.vapp("wiki"))
}

func TestSamplingCatchesAllocatedAreasThatLie(t *testing.T) {
	t.Parallel()
	for _, percent := range []float64{1, 100} {
		e := newEnv(t, nil)
		vm := e.vapp("wiki").VMs[0]
		disk := e.configs(e.vapp("wiki"))["wiki01"].Disks[0]
		// Of 96 blocks 60 hold data: a sample of 64 cannot miss them.
		e.cloud.VCenter("vc1").Faults().ForgeAllocated(vm.VimInfo.VMMoRef, disk.Key, vcenter.Range{Length: disk.Capacity})
		e.write("wiki01", 0, 0, random(7, 60*mib))
		want := e.sums(e.vapp("wiki"))
		point := e.backupWith(app.BackupRequest{Selectors: wiki.Selectors, SamplePercent: percent})
		d := diskOf(t, point, "wiki01", 0)
		if d.Mode != "full" || (d.SampleBytes == 0 || !strings.Contains(d.FullReason, "called empty") || !says(point, "called empty")) {
			t.Errorf("%v%%: %+v: %v", percent, d, point.Problems)
		}
		e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "checked"}})
		sameSums(t, e.sums(e.vapp("checked")), want)
	}
}

// fickle is a transport that serves some reads, then refuses, and whose
// sessions do not close well.
type fickle struct {
	transport.Opener
	reads  *atomic.Int64 // that are still served; nil: all
	closed error
}

func (f fickle) Open(ctx context.Context, vm transport.Frozen) (transport.Session, error) {
	s, err := f.Opener.Open(ctx, vm)
	return fickleSession{s, f}, err
}

type fickleSession struct {
	transport.Session
	f fickle
}

func (s fickleSession) Disk(ctx context.Context, key int32) (transport.Reader, error) {
	r, err := s.Session.Disk(ctx, key)
	if err != nil {
		return nil, err
	}
	return fickleSource{r.(transport.Source), s.f}, nil
}

func (s fickleSession) Close() error { return errors.Join(s.Session.Close(), s.f.closed) }

type fickleSource struct {
	transport.Source
	f fickle
}

func (s fickleSource) ReadAt(ctx context.Context, p []byte, off int64) error {
	if s.f.reads != nil && s.f.reads.Add(-1) < 0 {
		return fmt.Errorf("host: %w", transport.ErrRefused)
	}
	return s.Source.ReadAt(ctx, p, off)
}

// repositoryOf opens the repository of a vApp's org.
func (e *env) repositoryOf(vapp *vcd.VApp) *repository.Repository {
	e.t.Helper()
	ctx := e.t.Context()
	password, err := e.conf.Repository.Password.Read(ctx)
	if err != nil {
		e.t.Fatal(err)
	}
	root, err := repository.Open(ctx, repository.Location{Path: e.conf.Repository.Path()}, password, repository.Options{StateDir: e.t.TempDir()})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = root.Close(context.Background()) })
	repo, err := root.Org(ctx, vapp.Org.ID, vapp.Org.Name)
	if err != nil {
		e.t.Fatal(err)
	}
	return repo
}

// run is a backup of wiki through the given transports.
func (e *env) run(openers func(*vsphere.Client) []transport.Opener, hook func(string)) (*restorepoint.Point, error) {
	e.t.Helper()
	ctx := e.t.Context()
	must := func(err error) {
		e.t.Helper()
		if err != nil {
			e.t.Fatal(err)
		}
	}
	vapp := e.vapp("wiki")
	repo := e.repositoryOf(vapp)
	j, err := journal.Open(ctx, filepath.Join(e.t.TempDir(), "journal.db"))
	must(err)
	e.t.Cleanup(func() { _ = j.Close() })
	claim, err := j.Claim(ctx, e.conf.Sites[0].ID, vapp.ID, "test")
	must(err)
	e.t.Cleanup(func() { _ = claim.Release(context.Background()) })
	return backup.Run(ctx, backup.Deps{
		VCD: e.vcd, Openers: openers, Repository: repo, Journal: j, Claim: claim, Hook: hook, Limits: limit.New(limit.Config{Disks: 2}),
		VSphere: func(_ context.Context, href string) (*vsphere.Client, error) { return e.vcenters[vcd.URN(href)], nil },
	}, backup.Options{
		Site: restorepoint.Ref{ID: e.conf.Sites[0].ID}, VAppID: vapp.ID, Maintenance: backup.MaintenanceFull,
		MaintenanceTimeout: time.Minute, Quiesce: vsphere.QuiesceTry, SamplePercent: 1,
	})
}

func TestATransportThatRefusesInMidReadGivesWay(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	want := e.sums(e.vapp("wiki"))
	reads := &atomic.Int64{}
	reads.Store(2)
	point, err := e.run(func(c *vsphere.Client) []transport.Opener {
		return []transport.Opener{fickle{datastore.NewOpener(c), reads, nil}, nfc.NewOpener(c)}
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := diskOf(t, point, "wiki01", 0); point.State != "complete" || d.Transport != "nfc" {
		t.Errorf("%s through %s: %v", point.State, d.Transport, point.Problems)
	}
	e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "read twice"}})
	sameSums(t, e.sums(e.vapp("read twice")), want)
	// And where there is no other, it is left out with the reason.
	reads.Store(0)
	_, err = e.run(func(c *vsphere.Client) []transport.Opener {
		return []transport.Opener{fickle{datastore.NewOpener(c), reads, nil}}
	}, nil)
	if !errors.Is(err, backup.ErrNothing) || !strings.Contains(err.Error(), "host: refused") {
		t.Errorf("error: %v", err)
	}
	e.tidy(e.vapp("wiki"))
}

func TestATransportThatClosesBadlyCostsNoVM(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point, err := e.run(func(c *vsphere.Client) []transport.Opener {
		return []transport.Opener{fickle{datastore.NewOpener(c), nil, errors.New("logged out already")}}
	}, nil)
	if err != nil || point.State != "complete" || !says(point, "logged out already") {
		t.Errorf("%+v, %v", point, err)
	}
}

func TestARepositoryThatCannotBeWrittenCostsNoMaintenance(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	var steps []string
	e.backupWith(wiki)
	locks, err := filepath.Glob(filepath.Join(strings.TrimPrefix(e.conf.Repository.URL, "file://"), "orgs", "*.lock"))
	if err != nil || len(locks) == 0 {
		t.Fatalf("no lock to break: %v", err)
	}
	for _, lock := range locks {
		if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.run(nil, func(step string) { steps = append(steps, step) })
	if err == nil || !strings.Contains(err.Error(), "open repository") || len(steps) > 0 {
		t.Errorf("after %v: %v", steps, err)
	}
}

func TestAFullBackupOnRequestBelievesNobody(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backupWith(app.BackupRequest{Selectors: wiki.Selectors, Full: true, SamplePercent: -1})
	if d := diskOf(t, point, "wiki01", 0); d.ReadBytes != d.Content.Size {
		t.Errorf("read %d of %d bytes", d.ReadBytes, d.Content.Size)
	}
}

func TestALiveRunWithAnotherStateFolderIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	for _, mode := range []string{"full", "none"} {
		var second error
		tried := false
		_, err := e.app(func(step string) {
			if strings.HasPrefix(step, "snapshot ") && !tried {
				tried = true
				other := e.elsewhere(t)
				if _, err := other.Reconcile(t.Context()); err != nil {
					t.Error(err)
				}
				if mode == "full" {
					_, second = other.Backup(t.Context(), wiki)
				}
			}
		}).Backup(t.Context(), app.BackupRequest{Selectors: wiki.Selectors, SamplePercent: -1, Maintenance: mode})
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if mode == "full" && (second == nil || !strings.Contains(second.Error(), "another run holds")) {
			t.Errorf("the second run: %v", second)
		}
		e.tidy(e.vapp("wiki"))
	}
}

func TestALostMarkDoesNotKeepTheVAppInMaintenance(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	lost := e.vapp("wiki")
	_, err := e.app(func(step string) {
		if strings.HasPrefix(step, "snapshot ") {
			if err := e.vcd.DeleteMetadata(t.Context(), lost.Href, "SYSTEM", "vappvault.run"); err != nil {
				t.Error(err)
			}
		}
	}).Backup(t.Context(), wiki)
	if err != nil {
		t.Error(err)
	}
	e.tidy(e.vapp("wiki"))
}

func TestAnotherRunsMarkIsLeftWhereItIs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	taken := e.vapp("wiki")
	theirs := vcd.MetadataEntry{Domain: "SYSTEM", Visibility: "PRIVATE", Key: "vappvault.run", Type: vcd.StringValue, Value: "01OTHER elsewhere 7 8 boot/pid"}
	results, err := e.app(func(step string) {
		if strings.HasPrefix(step, "snapshot ") {
			if err := e.vcd.SetMetadata(t.Context(), taken.Href, theirs); err != nil {
				t.Error(err)
			}
		}
	}).Backup(t.Context(), wiki)
	if !errors.Is(err, app.ErrPartial) || !strings.Contains(err.Error(), "run 01OTHER on elsewhere") || results[0].Point == nil {
		t.Errorf("error: %v", err)
	}
	if !e.vapp("wiki").InMaintenance {
		t.Error("the other run's maintenance mode was ended")
	}
	entries, err := e.vcd.Metadata(t.Context(), taken.Href)
	if err != nil || !slices.ContainsFunc(entries, func(m vcd.MetadataEntry) bool { return m.Value == theirs.Value }) {
		t.Errorf("the other run's mark is gone: %v", err)
	}
	// And who comes later does not touch it either.
	if _, err := e.app(nil).Backup(t.Context(), wiki); err == nil || !strings.Contains(err.Error(), "another run holds") {
		t.Errorf("a backup beside it: %v", err)
	}
}

func TestAVMThatVCenterDoesNotHaveBlocksNoOther(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	shop := e.vapp("web-shop")
	for _, vm := range shop.VMs {
		if vm.Name == "db01" {
			v := e.vsphere(vm)
			if err := e.cloud.Power(t.Context(), "db01", "off"); err != nil {
				t.Fatal(err)
			}
			if err := v.Unregister(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	results, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1})
	if !errors.Is(err, app.ErrPartial) || results[0].Point == nil {
		t.Fatalf("error: %v", err)
	}
	if _, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: results[0].Point.ID, Options: plan.Options{As: "what is left"}}); err != nil && !errors.Is(err, app.ErrPartial) {
		t.Errorf("restore: %v", err)
	}
}

func TestADamagedRestorePointBeforeMeansAFullRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backupWith(wiki)
	pack := e.largestPack()
	raw, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(raw) / 4; i < len(raw)*3/4; i += 64 << 10 {
		raw[i] ^= 1
	}
	if err := os.WriteFile(pack, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	point := e.backupWith(app.BackupRequest{Selectors: wiki.Selectors, SamplePercent: 100})
	d := diskOf(t, point, "wiki01", 0)
	if d.Mode != "full" || !strings.Contains(d.FullReason, "cannot be read") || !says(point, "cannot be read") {
		t.Errorf("%s: %q: %v", d.Mode, d.FullReason, point.Problems)
	}
	e.tidy(e.vapp("wiki"))
}

func TestARefusedSectionMakesThePointPartial(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	for _, tc := range []struct {
		name, suffix string
		status       int
		state        restorepoint.State
	}{
		{"a section that is refused", "/leaseSettingsSection/", 403, restorepoint.Partial},
		{"a section that the server does not have", "/snapshotSection", 404, restorepoint.Complete},
		{"a section that nobody can ask for", "/snapshotSection", 405, restorepoint.Complete},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conf := *e.conf
			conf.Sites = append([]config.Site(nil), e.conf.Sites...)
			conf.Sites[0].URL, conf.Sites[0].CA = e.refusing(t, tc.suffix, tc.status)
			a := app.New(app.Options{Config: &conf})
			defer func() { _ = a.Close(t.Context()) }()
			results, err := a.Backup(t.Context(), wiki)
			if len(results) == 0 || results[0].Point == nil || results[0].Point.State != tc.state {
				t.Fatalf("%+v, %v", results, err)
			}
			if tc.state == restorepoint.Partial && (!errors.Is(err, app.ErrPartial) || !says(results[0].Point, "leaseSettingsSection")) {
				t.Errorf("%v, %v", err, results[0].Point.Problems)
			}
		})
	}
}

// refusing is a vCD in front of the cloud's that answers with an error to
// GETs of paths with a suffix.
func (e *env) refusing(t *testing.T, suffix string, status int) (address, ca string) {
	t.Helper()
	target, err := url.Parse(e.conf.Sites[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(e.cloud.CA())
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, suffix) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "no")
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, ca
}

func TestAStreamThatBreaksOffIsReadAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		transports []string
		cut        int64 // where they break off
		count      int   // of streams that do; 0: all
		through    string
		hits       int // fewest of them
	}{
		{"and then again under another lease", []string{"nfc"}, 3 * mib, 3, "nfc", 3},
		{"and in the end through the next transport", []string{"nfc", "datastore"}, 10000, 0, "datastore", 9},
		{"and what it brought stays when the next takes over", []string{"nfc", "datastore"}, 3 * mib, 0, "datastore", 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEnv(t, nil)
			e.conf.Transports = test.transports
			e.write("db01", 0, 0, random(3, 6*mib))
			e.write("db01", 1, 0, random(4, 6*mib))
			want := e.sums(e.vapp("web-shop"))
			rule, err := e.cloud.Faults().Add(fault.Rule{
				Service: fault.NFC, Operation: "GET", Count: test.count, Effect: fault.Effect{Reset: &test.cut},
			})
			if err != nil {
				t.Fatal(err)
			}
			point := e.backupWith(app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1})
			if d := diskOf(t, point, "db01", 0); point.State != "complete" || d.Transport != test.through {
				t.Errorf("%s through %s: %v", point.State, d.Transport, point.Problems)
			}
			for _, r := range e.cloud.Faults().List() {
				if r.ID == rule && r.Hits < test.hits {
					t.Errorf("%d streams broke off, want %d", r.Hits, test.hits)
				}
			}
			if err := e.cloud.Faults().Clear(); err != nil {
				t.Fatal(err)
			}
			e.tidy(e.vapp("web-shop"))
			e.restore(app.RestoreRequest{Point: point.ID, Options: plan.Options{As: "read again"}})
			sameSums(t, e.sums(e.vapp("read again")), want)
		})
	}
}
