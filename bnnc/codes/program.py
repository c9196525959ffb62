"""What planning, building and training say: B06xx memory, B07xx target, B08xx data files, B09xx bnnc itself."""

from __future__ import annotations

from .code import Code

CODES = (
    Code(
        "B0601",
        "the plan needs more memory than there is",
        "The total of the plan exceeds `--ram`.  The message names the step at which most memory is in use, the buffers"
        " that make it, and ways to make them smaller with the bytes that each saves.",
    ),
    Code("B0602", "not a size", "A size is a whole number of bytes, or a number with a unit: 512KiB, 1.5MiB, 300kB."),
    Code(
        "B0603",
        "a network that the published accounting does not cover",
        "The published memory figures are for chains of dense layers and convolutions, trained with one of three"
        " optimisers, and for networks with real layers or residuals, trained with Adam.",
    ),
    Code(
        "B0604",
        "an accounting that needs the number of training samples",
        "The accounting published for this rule counts the training data.  bnnc counts the samples in the files that"
        " the spec names, beside the spec or in `--data DIR`; where it cannot, `--samples N` says how many there are.",
    ),
    Code(
        "B0605",
        "widths that cannot be scaled into the memory that there is",
        "With `--ram`, `bnnc compare` scales all hidden layers by one factor to the largest network whose plan fits.",
    ),
    Code(
        "B0701",
        "a product that the backend cannot compute",
        "The backend has a kernel for each combination of operand types that the built-in rules and layers make.  A new"
        " rule or layer made another one.",
    ),
    Code(
        "B0702",
        "a layer or an input that is too wide",
        "Kernels lay some operands out on the stack of each thread: the bit planes of a u8 sample, the units of a "
        "group, the samples of an update.  That bounds their size on every target; the message says which bound.",
    ),
    Code("B0703", "an environment variable that means nothing", "The message lists the values that it can have."),
    Code(
        "B0704",
        "a number of threads out of bounds",
        "A program can be compiled for 1 to 64 threads; without an operating system for one.",
    ),
    Code("B0705", "a target that does not exist", "`bnnc targets` lists all there are."),
    Code(
        "B0706",
        "no C compiler",
        "Install one, as the message says, or name one in the environment variable BNNC_CC, with its options for the"
        ' machine.  For every Raspberry Pi `pip install "bnnc[arm]"` is enough: it brings zig, which compiles C for all'
        " of them.  `bnnc targets` lists what is installed.",
    ),
    Code(
        "B0707",
        "the C compiler failed",
        "The message holds the command and the compiler's first complaints.  If the source was not edited by hand, this"
        " is a mistake in bnnc, or a compiler that it does not know.  BNNC_CC names another one, BNNC_CFLAGS gives it"
        " more options.",
    ),
    Code(
        "B0708",
        "a folder that holds no source written by bnnc",
        "A program is built from the C files and the NAME.plan.json beside them, as `bnnc compile --source` writes"
        " them.",
    ),
    Code(
        "B0709",
        "a program that cannot be brought to another machine",
        "`bnnc deploy` prints scp and ssh commands, and runs them with --run.  The host is USER@HOST; names that a"
        " shell there would take apart are refused.  Where a command fails, try it by hand: the host must be up and let"
        " you in.",
    ),
    Code(
        "B0710",
        "a network that is too large for a C program",
        "A program's memory is one static array, and its code counts bytes and elements in 31 bits.  A program for a"
        " GPU mirrors the memory there, up to 4 GiB (2 GiB but on x86-64).  Planning has no such limit.",
    ),
    Code(
        "B0711",
        "Triton is missing, or of another version",
        "GPU targets compile their kernels with one version of Triton: `pip install 'bnnc[gpu]'`.",
    ),
    Code(
        "B0712",
        "a GPU kernel needs memory that no plan counts",
        "The compiler ran out of registers, or the kernel wants scratch memory: both would be device memory beside the"
        " arena; or it wants more shared memory than the GPU has.",
    ),
    Code(
        "B0713",
        "a generated Python program was edited and is no Python any more",
        "Write it again with `bnnc compile FILE --target triton --source DIR`, or mend the line that the message"
        " names.",
    ),
    Code(
        "B0714",
        "no GPU that a program can use",
        "A program for target triton runs on an NVIDIA GPU of compute capability 8.0 or more, with torch for CUDA.",
    ),
    Code(
        "B0715",
        "a program without an operating system, and without data",
        "`bnnc compile --target cortex-m` puts the samples into flash.  They come from the files that the spec's `data`"
        " names, beside the spec, and must fit there.  With --emit-only they are left out where they are missing: a"
        " firmware brings its own.",
    ),
    Code(
        "B0716",
        "a target for which no time is predicted",
        "`bnnc plan --time` predicts a training step's time on a GPU, from the code that is compiled for it.  On a CPU"
        " the program itself knows more: its `bench --kernels` takes the time of each kernel, and sets it against what"
        " that machine could do.",
    ),
    Code(
        "B0717",
        "a program for this machine, which has another system than Linux",
        "The programs ask the kernel for files, memory and threads themselves.  `check`, `plan` and `data` work"
        " everywhere, and so does `compile` for a Raspberry Pi or a microcontroller, by zig.",
    ),
    Code(
        "B0718",
        "what programs for this target cannot do",
        "Scores (`compile --scores`, for `predict --proba`) are given back by programs in C, not by those for GPUs;"
        " and only in C there are programs that only predict (`compile --mode infer`).  `augment` changes"
        " samples as they are read from files, and `sampling = balanced` reads labels ahead: a microcontroller's"
        " program does neither, and one for target triton augments nothing (`cuda` does both).  An ONNX graph"
        " (`export`) has what computes whole numbers, whose sums no order changes, and elements of real ones."
        "  Checkpoints are the same: compile the network for `host` too, and ask that program.",
    ),
    Code("B0801", "a data file cannot be read or written", "The message names the file and the reason."),
    Code("B0802", "a data file is damaged or of another format", "The message says what was expected and found."),
    Code(
        "B0803",
        "labels that do not fit",
        "There is one label a sample, a whole number from 0 to 255; of a CSV also a name.  Real numbers are no classes:"
        " is it another column that holds the labels?  `bnnc data pack --label COLUMN` says which.",
    ),
    Code("B0804", "samples that do not fit", "Samples are finite numbers, all of one shape."),
    Code("B0805", "data sources that do not fit together", "The message lists what can be given."),
    Code(
        "B0806",
        "weights that do not fit",
        "The arrays of another network: a name is missing or unknown, or a shape differs; or values are no numbers.",
    ),
    Code(
        "B0807",
        "checkpoints that cannot be used",
        "They belong to another network, rule, batch size or seed, are damaged, or cannot be written.",
    ),
    Code(
        "B0808",
        "sequences that all end alike (a warning)",
        "A recurrent layer gives its last state.  Where most samples end with the same step, mostly because short"
        " sequences are filled up, that step acts on all of them as a strong bias, and the last state says little about"
        " the sample.  Give f32 samples in which the steps that do not exist are NaN, and write `lengths = on` in the"
        " encoder; or fill up in front.",
        warning=True,
    ),
    Code(
        "B0809",
        "a data set that cannot be fetched",
        "`bnnc data get` takes files from where their authors keep them, goes on where it was interrupted, and compares"
        " checksums.  `--from URL` names another place that has the same files.",
    ),
    Code(
        "B0810",
        "thresholds that coincide (a warning)",
        "The thresholds of `thermometer` are quantiles, unless `kind` says otherwise.  Where most values are the least"
        " one, as most pixels of a drawing are 0, so are the quantiles, every value reaches them, and the bits say"
        " nothing.  `kind = uniform` takes thresholds at equal distances, `median` makes one bit, and `scale` leaves"
        " pixels as they are.",
        warning=True,
    ),
    Code(
        "B0811",
        "bytes that use little of their range (a warning)",
        "Bytes that no encoder reads become numbers from -1 to 1: 0 is -1, 255 is 1.  Where samples use a small part of"
        " that, a weight that flips moves its sum by nearly 2 in all of them alike, which batch norm's running mean"
        " follows too slowly, and what tells samples apart is far less.  `thermometer` and `median` fit thresholds to"
        " the samples.",
        warning=True,
    ),
    Code("B0901", "the trainer stopped", "The message is the trainer's own, and so is the exit code."),
    Code("B0902", "a spec, or a saved program, that cannot be read", "The message names the file and the reason."),
    Code("B0903", "a file that cannot be written", "The message names the file and the reason."),
    Code("B0904", "no such code", "Codes are the B and four digits at the start of each message."),
    Code(
        "B0905",
        "an experiment that cannot be made",
        "`bnnc compare` and `bnnc sweep` need at least one network that can be trained, test samples and an epoch, and"
        " settings as NAME=VALUE,VALUE,...",
    ),
    Code(
        "B0906",
        "a folder with other results",
        "Runs that ended are kept as lines of runs.jsonl in the output folder.  This file holds something else.",
    ),
    Code("B0907", "no such name", "`bnnc describe` lists every name of the language."),
    Code("B0908", "no such buffer", "`bnnc plan FILE --all` lists the buffers of a plan."),
    Code(
        "B0909",
        "a plug-in that goes wrong",
        "The message names the plug-in's file and line, and what Python says of it.  docs/plugins.md builds one.",
    ),
    Code(
        "B0910",
        "a run that cannot be reported",
        "`bnnc report` reads the folder of a run: its checkpoints, its log (`log.jsonl`, or --log) and what `bnnc run`"
        " kept of the spec (`run.json`, or --spec).  A log of another network than the spec's is refused.",
    ),
)
