pub struct SimDevice;
