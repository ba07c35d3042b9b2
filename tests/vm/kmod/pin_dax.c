// SPDX-License-Identifier: GPL-2.0-only
/*
 * For the rig alone: a kernel that lets a device pin the pages of an fs-dax
 * file, as no released one does. What a pin then does to a truncate is what
 * the kernel refuses it for, and what the tests look at.
 *
 * All that ib_umem_get() and pin_user_pages_fast() have against such a page
 * is FOLL_LONGTERM; without it they pin it, and a truncate waits until the pin
 * is gone. So that flag is taken out of every call, whoever makes it. Nothing
 * else is changed: faults, write-back and truncate are the file system's own.
 */
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>

#ifndef CONFIG_X86_64
#error "the third argument is looked for in rdx"
#endif

/* int pin_user_pages_fast(start, nr_pages, gup_flags, pages) */
static int without_longterm(struct kprobe *probe, struct pt_regs *regs)
{
	regs->dx &= ~(unsigned long)FOLL_LONGTERM;
	return 0;
}

static struct kprobe probe = {
	.symbol_name = "pin_user_pages_fast",
	.pre_handler = without_longterm,
};

static int __init pin_dax_init(void)
{
	return register_kprobe(&probe);
}

static void __exit pin_dax_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(pin_dax_init);
module_exit(pin_dax_exit);
MODULE_DESCRIPTION("lets devices pin the pages of fs-dax files, for tests");
MODULE_LICENSE("GPL");
