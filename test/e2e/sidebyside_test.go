package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// manyVApps is a cloud of so many small vApps in each of two orgs. Their
// tasks take a moment, as those of a real cloud do.
func manyVApps(t *testing.T, each int) *cloud.Inventory {
	t.Helper()
	var text strings.Builder
	text.WriteString(`
version: 1
sites:
- id: lab
  admin: {name: administrator, password: secret}
  taskDelay: 100ms
  vcenters:
  - name: vc1
    datacenter: DC
    cluster: cluster
    hosts: 1
    networks: [pg]
    taskDelay: 100ms
    datastores:
    - {name: ds1, capacity: 8TiB}
  orgs:
`)
	for _, org := range []string{"acme", "globex"} {
		fmt.Fprintf(&text, "  - name: %s\n    vdcs:\n    - name: %s-vdc\n      vcenter: vc1\n      storageProfiles:\n      - {name: gold, datastore: ds1, limit: 1TiB, default: true}\n      vapps:\n", org, org)
		for i := range each {
			fmt.Fprintf(&text, "      - name: %s-%d\n        vms:\n        - name: %s-vm%d\n          computerName: vm%d\n          guestID: debian12_64Guest\n          memory: 256MiB\n          disks:\n          - {size: 32MiB, fill: 2MiB, controller: pvscsi}\n", org, i, org, i, i)
		}
	}
	inventory, err := cloud.Parse([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return inventory
}

func TestManyVAppsSideBySide(t *testing.T) {
	t.Parallel()
	e := newEnv(t, manyVApps(t, 2))
	var mu sync.Mutex
	under, most := map[string]bool{}, 0
	e.on = func(ev progress.Event) { // under e.mu
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ev.Kind == progress.StepStart && ev.Step == "enter maintenance mode":
			under[ev.VApp] = true
		case ev.Kind == progress.StepDone && ev.Step == "exit maintenance mode":
			delete(under, ev.VApp)
		}
		most = max(most, len(under))
	}
	var want []string
	for _, org := range []string{"acme", "globex"} {
		for i := range 2 {
			want = append(want, fmt.Sprintf("%s/%s-vdc/%s-%d", org, org, org, i))
		}
	}
	run := func(parallel int) time.Duration {
		most = 0
		began := time.Now()
		results, err := e.backups(app.BackupRequest{All: true, Parallel: parallel, Full: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range results {
			got = append(got, r.VApp)
			if r.Point.State != restorepoint.Complete || r.Point.VApp.Name != r.VApp[strings.LastIndexByte(r.VApp, '/')+1:] {
				t.Errorf("%s: %+v", r.VApp, r.Point)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("results in the order %v", got)
		}
		if most > parallel {
			t.Errorf("%d at once, asked for %d", most, parallel)
		}
		return time.Since(began)
	}
	for _, parallel := range []int{1, 4} {
		took := run(parallel)
		t.Logf("%d at once: %s", parallel, took.Round(10*time.Millisecond))
		if parallel > 1 && most < 2 {
			t.Errorf("asked for %d at once, got %d", parallel, most)
		}
	}
	for i := range 2 {
		e.tidy(e.vapp(fmt.Sprintf("acme-%d", i)))
	}
	verified, err := e.app(nil).Verify(t.Context(), nil, 100)
	if err != nil || len(verified.Damage) != 0 || verified.Points != 8 {
		t.Errorf("verify: %+v, %v", verified, err)
	}
}

func TestOneOfManyThatFailsStopsNoOther(t *testing.T) {
	t.Parallel()
	e := newEnv(t, manyVApps(t, 2))
	e.cloud.VCenter("vc1").Faults().FailTask("CreateSnapshotEx_Task", 1, &types.GenericVmConfigFault{})
	e.cloud.VCenter("vc1").Faults().FailTask("CreateSnapshot_Task", 1, &types.GenericVmConfigFault{})
	results, err := e.backups(app.BackupRequest{Selectors: []string{"*/*/*"}, Parallel: 3, Quiesce: "off"})
	if !errors.Is(err, app.ErrPartial) {
		t.Fatal(err)
	}
	failed := 0
	for _, r := range results {
		if r.Err != nil {
			failed++
			if !strings.Contains(fmt.Sprint(err), r.VApp) {
				t.Errorf("the error does not name %s: %v", r.VApp, err)
			}
		}
		e.tidy(e.vapp(r.VApp[strings.LastIndexByte(r.VApp, '/')+1:]))
	}
	if failed != 1 || len(results) != 4 {
		t.Errorf("%d of %d failed", failed, len(results))
	}
}

func TestCancellingManyTidiesUpAll(t *testing.T) {
	t.Parallel()
	e := newEnv(t, manyVApps(t, 2))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	frozen := 0
	results, err := e.app(func(step string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(step, "snapshot ") {
			if frozen++; frozen == 2 {
				cancel()
			}
		}
	}).Backup(ctx, app.BackupRequest{All: true, Parallel: 3, SamplePercent: -1})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(results) != 4 {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if r.Point == nil && r.Err == nil {
			t.Errorf("%s: neither a point nor an error", r.VApp)
		}
		e.tidy(e.vapp(r.VApp[strings.LastIndexByte(r.VApp, '/')+1:]))
	}
	e.noOrphans()
	if results, err := e.backups(app.BackupRequest{All: true}); err != nil || len(results) != 4 {
		t.Errorf("the next run: %v", err)
	}
}
