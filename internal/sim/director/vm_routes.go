package director

// vmRoutes are the calls for single VMs beyond their sections, independent
// disks, snapshots and affinity rules.
func vmRoutes() []route {
	const vapp, disk = "/api/vApp/{id}/", "/api/disk/{id}"
	const snapshots = "/cloudapi/1.0.0/vm/{urn}/snapshots"
	do := func(path, takes string, h handler) route {
		rt := route{pattern: "POST " + vapp + path, handle: h}
		if takes != "" {
			rt.takes = mediaVCloud + takes
		}
		return rt
	}
	return []route{
		{pattern: "PUT " + vapp + "virtualHardwareSection", handle: (*call).putHardware, takes: mediaVCloud + "virtualHardwareSection"},
		{pattern: "PUT " + vapp + "virtualHardwareSection/{part}", handle: (*call).putHardwareItems, takes: "?"},
		{pattern: "PUT " + vapp + "bootOptions", handle: (*call).putBoot, takes: mediaVCloud + "bootOptionsSection"},
		{pattern: "POST " + vapp + "action/bootOptions", handle: (*call).putBoot, takes: mediaVCloud + "bootOptionsSection"},
		do("action/upgradeHardwareVersion", "", (*call).upgradeHardware),
		do("action/enableNestedHypervisor", "", func(c *call) (*answer, error) { return c.nesting(true) }),
		do("action/disableNestedHypervisor", "", func(c *call) (*answer, error) { return c.nesting(false) }),
		do("action/installVMwareTools", "", (*call).installTools),
		do("action/checkCompliance", "", (*call).checkCompliance),
		do("action/reloadFromVc", "", (*call).reload),
		do("action/relocate", "relocateVmParams", (*call).relocate),
		do("screen/action/acquireTicket", "", (*call).screenTicket),
		do("screen/action/acquireMksTicket", "", (*call).mksTicket),
		do("metrics/current", "", (*call).metrics),
		do("metrics/historic", "", (*call).history),
		do("disk/action/attach", "diskAttachOrDetachParams", (*call).attachDisk),
		do("disk/action/detach", "diskAttachOrDetachParams", (*call).detachDisk),
		do("media/action/insertMedia", "mediaInsertOrEjectParams", (*call).insertMedia),
		do("media/action/ejectMedia", "mediaInsertOrEjectParams", (*call).ejectMedia),
		{pattern: "GET " + vapp + "screen", handle: (*call).screen},
		{pattern: "GET " + vapp + "metrics/current", handle: (*call).metrics},
		{pattern: "GET " + vapp + "metrics/historic", handle: (*call).history},
		{pattern: "GET " + vapp + "question", handle: (*call).question},
		{pattern: "POST " + vapp + "question/action/answer", handle: (*call).answerQuestion, takes: mediaVCloud + "vmPendingAnswer", lenient: true},
		{pattern: "POST /api/vdc/{id}/action/createVm", handle: (*call).createVM, takes: mediaVCloud + "CreateVmParams"},
		{pattern: "POST /api/vdc/{id}/action/instantiateVmFromTemplate", handle: (*call).createFromTemplate,
			takes: mediaVCloud + "instantiateVmTemplateParams"},

		{pattern: "POST /api/vdc/{id}/disk", handle: (*call).createDisk, takes: mediaVCloud + "diskCreateParams"},
		{pattern: "GET " + disk, handle: (*call).getDisk},
		{pattern: "PUT " + disk, handle: (*call).putDisk, takes: mediaVCloud + "disk"},
		{pattern: "DELETE " + disk, handle: (*call).deleteDisk},
		{pattern: "GET " + disk + "/owner", handle: (*call).getDiskOwner},
		{pattern: "PUT " + disk + "/owner", handle: (*call).putDiskOwner, takes: mediaVCloud + "owner"},
		{pattern: "GET " + disk + "/attachedVms", handle: (*call).attachedVMs},
		{pattern: "GET " + disk + "/metadata", handle: (*call).getMetadata},
		{pattern: "POST " + disk + "/metadata", handle: (*call).mergeMetadata, takes: mediaVCloud + "metadata"},
		{pattern: "GET " + disk + "/metadata/{key}", handle: (*call).getMetadataValue},
		{pattern: "PUT " + disk + "/metadata/{key}", handle: (*call).putMetadataValue, takes: mediaVCloud + "metadata.value"},
		{pattern: "DELETE " + disk + "/metadata/{key}", handle: (*call).deleteMetadata},
		{pattern: "GET " + disk + "/metadata/{domain}/{key}", handle: (*call).getMetadataValue},
		{pattern: "PUT " + disk + "/metadata/{domain}/{key}", handle: (*call).putMetadataValue, takes: mediaVCloud + "metadata.value"},
		{pattern: "DELETE " + disk + "/metadata/{domain}/{key}", handle: (*call).deleteMetadata},

		{pattern: "GET /api/vdc/{id}/vmAffinityRules", handle: (*call).affinityRules},
		{pattern: "POST /api/vdc/{id}/vmAffinityRules", handle: (*call).createRule, takes: mediaAffinity},
		{pattern: "GET /api/vmAffinityRule/{id}", handle: (*call).getRule},
		{pattern: "PUT /api/vmAffinityRule/{id}", handle: (*call).putRule, takes: mediaAffinity, lenient: true},
		{pattern: "DELETE /api/vmAffinityRule/{id}", handle: (*call).deleteRule},

		{pattern: "GET " + snapshots, handle: (*call).cloudSnapshots},
		{pattern: "POST " + snapshots, handle: (*call).newCloudSnapshot, takes: "application/json"},
		{pattern: "GET " + snapshots + "/{snapshot}", handle: (*call).cloudSnapshot},
		{pattern: "PUT " + snapshots + "/{snapshot}", handle: (*call).putCloudSnapshot, takes: "application/json"},
		{pattern: "DELETE " + snapshots + "/{snapshot}", handle: (*call).deleteCloudSnapshot},
		{pattern: "POST " + snapshots + "/{snapshot}/revert", handle: (*call).revertCloudSnapshot},
	}
}

// diskEntities adds a VDC's independent disks to what is in it.
func (c *call) diskEntities(list *node, v *vdc) {
	for _, d := range sorted(c.s.disks) {
		if d.vdc == v.id && c.seesDisk(d) {
			add(list, el("ResourceEntity", "href", c.s.diskHref(d), "id", "urn:vcloud:disk:"+d.id, "name", d.name, "type", mediaVCloud+"disk+xml"))
		}
	}
}

// vdcVMLinks are a VDC's links for what is made in it.
func (c *call) vdcVMLinks(v *vdc) []*node {
	href := c.s.href("/api/vdc/" + v.id)
	return []*node{
		link("add", href+"/action/createVm", mediaVCloud+"CreateVmParams+xml"),
		link("add", href+"/action/instantiateVmFromTemplate", mediaVCloud+"instantiateVmTemplateParams+xml"),
		link("add", href+"/disk", mediaVCloud+"diskCreateParams+xml"),
		link("down", href+"/vmAffinityRules", mediaVCloud+"vmaffinityrules+xml"),
		link("add", href+"/vmAffinityRules", mediaAffinity+"+xml"),
	}
}
