package vddk

import (
	"context"
	"fmt"

	"github.com/vappvault/vappvault/internal/extent"
)

// A target is a disk that is written: a transport.Target.
type target struct{ *disk }

// WriteAt writes whole sectors.
func (t target) WriteAt(ctx context.Context, p []byte, off int64) error {
	leave, err := t.writing(ctx, "write", int64(len(p)), off)
	if err != nil {
		return err
	}
	defer leave()
	if err := t.client.WriteAt(ctx, p, off); err != nil {
		return t.fail(ctx, "write", err)
	}
	t.moved.Add(int64(len(p)))
	return nil
}

// Zero writes zeros: the library has no other way.
func (t target) Zero(ctx context.Context, e extent.Extent) error {
	leave, err := t.writing(ctx, "zero", e.Length, e.Offset)
	if err != nil {
		return err
	}
	defer leave()
	if err := t.client.Zero(ctx, e); err != nil {
		return t.fail(ctx, "zero", err)
	}
	t.moved.Add(e.Length)
	return nil
}

// Flush returns when all that was written is on the datastore.
func (t target) Flush(ctx context.Context) error {
	leave, err := t.enter(ctx)
	if err != nil {
		return fmt.Errorf("vddk: disk %d: flush: %w", t.what.Key, err)
	}
	defer leave()
	if err := t.client.Flush(ctx); err != nil {
		return t.fail(ctx, "flush", err)
	}
	return nil
}

// writing refuses what cannot be written, and makes Close wait.
func (t target) writing(ctx context.Context, step string, length, off int64) (leave func(), err error) {
	if err := t.within(step, length, off); err != nil {
		return nil, err
	}
	if length%sector != 0 || off%sector != 0 {
		return nil, fmt.Errorf("vddk: disk %d: %s: %d bytes at %d: no whole sectors", t.what.Key, step, length, off)
	}
	if leave, err = t.enter(ctx); err != nil {
		return nil, fmt.Errorf("vddk: disk %d: %s: %w", t.what.Key, step, err)
	}
	return leave, nil
}
