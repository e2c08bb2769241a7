package app

import (
	"os"
	"runtime/debug"

	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/limit"
)

// memory is what the buffers of all disks may take together, in bytes. The
// repository's own memory comes on top.
const memory = 64 << 20

// Tune sets up the memory of a process that does what an App is asked for and
// nothing else: what lives is mostly buffers and packs that wait to be written,
// which cost a collector little, so that collecting three times as often takes
// next to no time and keeps the peak near what lives. GOGC in the environment
// goes first.
func Tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(35)
	}
}

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
