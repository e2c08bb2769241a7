package cloud

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Advance moves the clocks of all vCDs on by d. It returns when the leases that
// end meanwhile have done what they do.
func (c *Cloud) Advance(d time.Duration) {
	for _, s := range c.sites {
		s.director.Advance(d)
	}
}

func (c *Cloud) advance(text string) error {
	d, err := ParseDuration(text)
	if err != nil {
		return err
	}
	c.Advance(d)
	return nil
}

// ParseDuration reads a positive duration as inventories write it: 90s, 36h,
// 14d.
func ParseDuration(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err != nil || text == "never" {
		return 0, fmt.Errorf("duration %q: want such as 90s, 36h or 14d", text)
	}
	if d <= 0 {
		return 0, fmt.Errorf("duration %q: it must be positive", text)
	}
	return time.Duration(d), nil
}

// Advance is Cloud.Advance.
func (c *Client) Advance(ctx context.Context, d time.Duration) error {
	_, err := c.text(ctx, http.MethodPost, "/time", url.Values{"advance": {d.String()}}, nil)
	return err
}
