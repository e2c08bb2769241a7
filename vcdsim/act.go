package vcdsim

import (
	"context"
	"fmt"
	"time"
)

// AdvanceTime moves the clocks of all vCDs on, and returns when the leases that
// end meanwhile have done what they do. Sessions and delays do not notice.
func (c *Cloud) AdvanceTime(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("advance time by %v: it must be positive", d)
	}
	c.running.Advance(d)
	return nil
}

// DeleteVApp undeploys and deletes a vApp, ORG/VDC/VAPP, as an administrator
// of vCD would.
func (c *Cloud) DeleteVApp(ctx context.Context, vapp string) error {
	return c.running.DeleteVApp(ctx, vapp)
}

// Migrate moves a VM to another host, another datastore or both, by their
// names, as an administrator of vCenter would; an empty name leaves it where
// it is.
func (c *Cloud) Migrate(ctx context.Context, vm, host, datastore string) error {
	return c.running.VMotion(ctx, vm, host, datastore)
}

// FillDatastore lets so many bytes of a datastore (NAME, or SITE/VCENTER/NAME)
// be taken by something else, in place of what it was told before; 0 gives
// them back.
func (c *Cloud) FillDatastore(name string, bytes int64) error {
	return c.running.FillDatastore(name, bytes)
}

// SetDatastoreState makes a datastore "normal", takes it into "maintenance" or
// makes it "inaccessible".
func (c *Cloud) SetDatastoreState(name, state string) error {
	return c.running.SetDatastoreState(name, state)
}

// Answer answers what a VM asks whose datastore is full: "retry", or "off" to
// switch it off.
func (c *Cloud) Answer(ctx context.Context, vm, choice string) error {
	return c.running.Answer(ctx, vm, choice)
}

// Scrub overwrites and removes every datastore file that no VM refers to, and
// lists them.
func (c *Cloud) Scrub(ctx context.Context) ([]string, error) { return c.running.Scrub(ctx) }
