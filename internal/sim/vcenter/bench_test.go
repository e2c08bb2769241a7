package vcenter_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// benchDisk is a disk of a GiB of a tracked VM.
func benchDisk(b *testing.B) (*vcenter.Server, *object.VirtualMachine, *vcenter.GuestDisk) {
	b.Helper()
	s, err := vcenter.Start(vcenter.Config{Dir: b.TempDir(), Users: map[string]string{user: password}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	ref, err := s.AddVM(vcenter.VMSpec{Name: "a", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: gib, Thin: true}}})
	if err != nil {
		b.Fatal(err)
	}
	c, err := login(b, s, user, password)
	if err != nil {
		b.Fatal(err)
	}
	g, err := s.Disk(ref, 0)
	if err != nil {
		b.Fatal(err)
	}
	return s, object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: ref}), g
}

func fillDisk(b *testing.B, g *vcenter.GuestDisk, p []byte) {
	b.Helper()
	for off := int64(0); off < gib; off += int64(len(p)) {
		if _, err := g.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGuestWrites(b *testing.B) {
	ctx := context.Background()
	for name, snapshots := range map[string]int{"base": 0, "delta": 1} {
		b.Run(name, func(b *testing.B) {
			_, vm, g := benchDisk(b)
			for range snapshots {
				task, err := vm.CreateSnapshot(ctx, "s", "", false, false)
				if err := task.Wait(ctx); err != nil {
					b.Fatal(err)
				}
				_ = err
			}
			p := random(64 << 10)
			b.SetBytes(gib)
			for b.Loop() {
				fillDisk(b, g, p)
			}
		})
	}
}

func BenchmarkExport(b *testing.B) {
	ctx := context.Background()
	_, vm, g := benchDisk(b)
	fillDisk(b, g, random(64<<10))
	task, err := vm.CreateSnapshot(ctx, "s", "", false, false)
	if err != nil {
		b.Fatal(err)
	}
	res, err := task.WaitForResult(ctx)
	if err != nil {
		b.Fatal(err)
	}
	snap := res.Result.(types.ManagedObjectReference)
	b.SetBytes(gib)
	for b.Loop() {
		lease, err := vm.ExportSnapshot(ctx, &snap)
		if err != nil {
			b.Fatal(err)
		}
		info, err := lease.Wait(ctx, nil)
		if err != nil {
			b.Fatal(err)
		}
		r, _, err := vm.Client().Download(ctx, info.Items[0].URL, &soap.Download{Method: http.MethodGet})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
		if err := lease.Complete(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
