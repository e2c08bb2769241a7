package vsphere

import "time"

// Hurry makes the client's pauses between attempts short.
func (c *Client) Hurry() { c.pause = func(int) time.Duration { return time.Millisecond } }
