package cloud

import (
	"fmt"
	"strconv"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// addProviderVDCs tells a site's vCD of the provider VDCs and VM groups.
func addProviderVDCs(s *site) error {
	for i := range s.spec.ProviderVDCs {
		p := &s.spec.ProviderVDCs[i]
		spec := director.ProviderVDCSpec{
			ID: uuid("provider vdc", s.spec.ID, p.Name), Name: p.Name, Description: p.Description, VCenter: p.VCenter,
			ResourcePools: p.ResourcePools, HardwareVersion: p.HardwareVersion, NSXTManager: director.NamedRef{Name: p.NSXTManager},
		}
		for _, profile := range p.StorageProfiles {
			spec.StorageProfiles = append(spec.StorageProfiles, director.ProviderStorageProfileSpec{
				ID: uuid("provider storage profile", s.spec.ID, p.Name, profile.Name), Name: profile.Name, Datastores: profile.Datastores})
		}
		for _, name := range p.NetworkPools {
			spec.NetworkPools = append(spec.NetworkPools, director.NamedRef{Name: name})
		}
		if _, err := s.director.AddProviderVDC(spec); err != nil {
			return err
		}
	}
	for _, vc := range s.spec.VCenters {
		for _, group := range vc.VMGroups {
			if err := s.director.AddVMGroup(vc.Name, group); err != nil {
				return fmt.Errorf("vCenter %s: VM group %s: %w", vc.Name, group, err)
			}
		}
	}
	return nil
}

// limits copies what a VDC may have.
func limits(spec *director.VDCSpec, v *VDC) {
	spec.ProviderVDC, spec.NICQuota, spec.NetworkQuota = v.ProviderVDC, v.NICQuota, v.NetworkQuota
	spec.CPUMHz, spec.MemoryMB = int64(v.CPU), int64(v.Memory>>20)
	spec.CPUGuaranteed, spec.MemoryGuaranteed = v.CPUGuarantee, v.MemoryGuarantee
	spec.NetworkPool = director.NamedRef{Name: v.NetworkPool}
	if v.VMDiscovery != nil {
		spec.Discovery = strconv.FormatBool(*v.VMDiscovery)
	}
}

// providerVDCs checks the provider VDCs of a site.
func (c *checker) providerVDCs(thing string, s *Site) {
	unique(c, thing, "provider VDC", s.ProviderVDCs, func(p *ProviderVDC) string { return p.Name })
	for i := range s.ProviderVDCs {
		p := &s.ProviderVDCs[i]
		thing := thing + ": provider VDC " + p.Name
		if p.VCenter == "" && len(s.VCenters) == 1 {
			p.VCenter = s.VCenters[0].Name
		}
		vc := known(c, thing, "vCenter", p.VCenter, s.VCenters, vcenterName)
		if vc == nil {
			continue
		}
		for _, name := range p.ResourcePools {
			known(c, thing, "resource pool", name, vc.ResourcePools, func(s *string) string { return *s })
		}
		for _, profile := range p.StorageProfiles {
			for _, name := range profile.Datastores {
				known(c, thing+": storage profile "+profile.Name, "datastore", name, vc.Datastores, datastoreName)
			}
		}
	}
}

// vdcLimits checks what a VDC may have.
func (c *checker) vdcLimits(thing string, s *Site, v *VDC) {
	if v.ProviderVDC != "" {
		p := known(c, thing, "provider VDC", v.ProviderVDC, s.ProviderVDCs, func(p *ProviderVDC) string { return p.Name })
		if p != nil && p.VCenter != v.VCenter {
			c.add(thing, "provider VDC %s is on vCenter %s", p.Name, p.VCenter)
		}
	}
	if v.NICQuota < 0 || v.NetworkQuota < 0 || v.CPU < 0 {
		c.add(thing, "a quota is negative")
	}
	for key, part := range map[string]float64{"cpuGuarantee": v.CPUGuarantee, "memoryGuarantee": v.MemoryGuarantee} {
		if part < 0 || part > 1 {
			c.add(thing, "%s %v: want a number from 0 to 1", key, part)
		}
	}
	for _, p := range v.StorageProfiles {
		if p.Disabled && p.Default {
			c.add(thing, "storage profile %s: the default one is disabled", p.Name)
		}
	}
}
