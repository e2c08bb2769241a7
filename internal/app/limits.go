package app

import (
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/limit"
)

// memory is what the buffers of all disks may take together, in bytes. The
// repository's own memory comes on top.
const memory = 96 << 20

// limitsOf makes the limits that everything in the process shares.
func limitsOf(c *config.Config) *limit.Limits {
	if c == nil {
		return limit.New(limit.Config{Memory: memory})
	}
	bound := func(b config.Bound) limit.Bound {
		return limit.Bound{Disks: b.Disks, InFlight: int64(b.InFlight)}
	}
	return limit.New(limit.Config{
		Disks: c.Limits.Disks, PerHost: bound(c.Limits.PerHost), PerVCenter: bound(c.Limits.PerVCenter),
		Bandwidth: int64(c.Limits.Bandwidth), Memory: memory,
	})
}
