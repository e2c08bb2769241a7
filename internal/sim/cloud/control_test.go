package cloud

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheControlSocketActsOnTheRunningCloud(t *testing.T) {
	t.Parallel()
	// A long name: socket addresses are short.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	c, err := Start(Options{Inventory: parse(t, small), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	client := NewClient(dir)
	ctx := within(t)
	if _, err := client.VMs(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before there is a socket: got %v, want ErrNotRunning", err)
	}
	control, err := c.Control()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Control(); !errors.Is(err, ErrBusy) {
		t.Errorf("two sockets in one directory: %v", err)
	}

	if err := client.Advance(ctx, 36*time.Hour); err != nil {
		t.Error(err)
	}
	if err := client.Advance(ctx, -time.Hour); err == nil {
		t.Error("the clock went back")
	}
	before, err := client.Sum(ctx, "web", 0)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789"), 300_000)
	n, err := client.Write(ctx, "acme/vdc1/shop/web", 0, 4097, bytes.NewReader(content))
	if err != nil || n != int64(len(content)) {
		t.Fatalf("write: %d bytes, %v", n, err)
	}
	var got bytes.Buffer
	if err := client.Read(ctx, "web", 0, 4097, int64(len(content)), &got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("read: %d bytes, %v: not what was written", got.Len(), err)
	}
	got.Reset()
	if err := client.Read(ctx, "web", 0, 64<<20-3, -1, &got); err != nil || got.Len() != 3 {
		t.Errorf("read the end: %d bytes, %v, want 3", got.Len(), err)
	}
	after, err := client.Sum(ctx, "web", 0)
	if err != nil || after == before {
		t.Errorf("sum after the write: %s, %v; before: %s", after, err, before)
	}
	for what, err := range map[string]error{
		`vm wep: no such VM; there are "acme/vdc1/shop/web"`: client.Power(ctx, "wep", "on"),
		"disk 1: it has 1": second(client.Sum(ctx, "web", 1)),
		"the disk has":     second(client.Write(ctx, "web", 0, 64<<20-1, strings.NewReader("ab"))),
		"3 bytes at 67108864: the disk has 67108864": client.Read(ctx, "web", 0, 64<<20, 3, &got),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %s", err, what)
		}
	}
	if files, err := client.Scrub(ctx); err != nil || len(files) != 0 {
		t.Errorf("scrub: %q, %v, want nothing to do", files, err)
	}
	if err := control.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket after Close: %v, want it gone", err)
	}
}

func second[T any](_ T, err error) error { return err }
